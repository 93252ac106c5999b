"""What is MLflow's own: its pages' contents, its files, its failures."""

from __future__ import annotations

import logging
import os
import pickle
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from registry.memory import MemoryRegistry
from registry.mlflow_registry import EXPERIMENT, MlflowRegistry
from registry.port import RegistryDown, UnknownVersion, Upload

Uploads = Callable[..., Upload]
# MLflow 3.17's own mapping, when it is first used; SQLAlchemy 2.1 still does what it asks.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


def _artifacts(registry: MlflowRegistry, model: str, version: str) -> Path:
    """The folder of a version's flavour."""
    from mlflow import MlflowClient
    from mlflow.artifacts import download_artifacts

    found = MlflowClient(registry._uri).get_model_version(model, version)
    return Path(download_artifacts(found.source))


def test_a_run_shows_metrics_parameters_and_lineage(mlflow_registry: MlflowRegistry, upload: Uploads) -> None:
    """In the experiment that the older system used, under its names, and the run ended well."""
    from mlflow import MlflowClient

    version = mlflow_registry.register(upload("shown", "a"))
    client = MlflowClient(mlflow_registry._uri)
    made = client.get_model_version("shown", version)
    run = client.get_run(str(made.run_id))
    assert client.get_experiment(run.info.experiment_id).name == EXPERIMENT
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"accuracy": 0.95}
    assert run.data.params == {
        "model_type": "LogisticRegression",
        "n_samples": "200",
        "performance_threshold": "0.8",
    }
    lineage = {"job_id": "a", "attempt": "1", "seed": "7", "data": "d1:ab12"}
    assert lineage.items() <= run.data.tags.items()
    assert lineage == made.tags


def test_the_stored_flavour_is_our_file(mlflow_registry: MlflowRegistry, upload: Uploads) -> None:
    """Skops, with a signature and exact requirements; its model file is the uploaded one and predicts."""
    sent = upload("flavour", "a")
    folder = _artifacts(mlflow_registry, "flavour", mlflow_registry.register(sent))
    described = (folder / "MLmodel").read_text()
    assert "serialization_format: skops" in described
    assert "signature:" in described
    assert "scikit-learn==" in (folder / "requirements.txt").read_text()
    assert not any(path.suffix in {".pkl", ".pickle"} for path in folder.iterdir())
    stored = (folder / "model.skops").read_bytes()
    assert stored == sent.file.read_bytes()
    assert list(skops.io.loads(stored).predict(np.array([[2.0, 2.0], [-2.0, -2.0]]))) == [1, 0]


def test_a_file_that_was_lost_is_told(mlflow_registry: MlflowRegistry, upload: Uploads, tmp_path: Path) -> None:
    """The version is there, its file is not: UnknownVersion, and nothing is written."""
    version = mlflow_registry.register(upload("lost", "a"))
    (_artifacts(mlflow_registry, "lost", version) / "model.skops").unlink()
    with pytest.raises(UnknownVersion):
        mlflow_registry.fetch("lost", version, tmp_path / "model.skops")
    assert list(tmp_path.iterdir()) == []


def test_a_swapped_file_comes_as_it_is(mlflow_registry: MlflowRegistry, upload: Uploads, tmp_path: Path) -> None:
    """`fetch` loads nothing: a pickle put in the store stays bytes, for the caller's SHA-256 to refuse."""
    version = mlflow_registry.register(upload("swapped", "a"))
    evil = pickle.dumps(print)
    (_artifacts(mlflow_registry, "swapped", version) / "model.skops").write_bytes(evil)
    mlflow_registry.fetch("swapped", version, tmp_path / "model.skops")
    assert (tmp_path / "model.skops").read_bytes() == evil


def test_registering_says_nothing_on_the_terminal(
    mlflow_registry: MlflowRegistry,
    upload: Uploads,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No banners, no progress bars, no warnings; and the environment of child processes stays as it was."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow_registry.register(upload("quiet", "a"))
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert os.environ.get("MLFLOW_TRACKING_URI") == before


def test_a_quote_cannot_widen_the_search_for_a_job(mlflow_registry: MlflowRegistry, upload: Uploads) -> None:
    """MLflow's filters know no escapes, so a quote is refused."""
    with pytest.raises(ValueError, match="quote"):
        mlflow_registry.register(upload("safe", "x' or name = 'y"))


def test_a_server_that_is_not_there_is_down(upload: Uploads, tmp_path: Path) -> None:
    """Every method says so within a moment, without the address's password."""
    registry = MlflowRegistry("http://me:hunter22@127.0.0.1:1")
    calls: tuple[Callable[[], object], ...] = (
        registry.prepare,
        registry.ping,
        lambda: registry.register(upload("down", "a")),
        lambda: registry.champion("down"),
        lambda: registry.set_champion("down", "1"),
        lambda: registry.fetch("down", "1", tmp_path / "model.skops"),
        lambda: registry.forget("down", "1"),
    )
    for call in calls:
        with pytest.raises(RegistryDown) as caught:
            call()
        assert "hunter22" not in str(caught.value)


def test_a_store_that_is_no_database_is_down(tmp_path: Path) -> None:
    """Neither pinged nor opened."""
    (tmp_path / "mlflow.db").write_bytes(b"garbage" * 1000)
    registry = MlflowRegistry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    with pytest.raises(RegistryDown):
        registry.ping()
    with pytest.raises(RegistryDown):
        registry.champion("default")


def test_a_store_whose_files_are_away_is_down_and_takes_the_version_once_they_are_back(
    mlflow_registry: MlflowRegistry, upload: Uploads, tmp_path: Path
) -> None:
    """A file lies where the folder of the files was: nothing can be written there."""
    mlflow_registry.register(upload("filed", "before"))
    files = mlflow_registry._artifact_root
    assert files is not None
    files.rename(tmp_path / "away")
    files.touch()
    with pytest.raises(RegistryDown):
        mlflow_registry.register(upload("filed", "a"))
    files.unlink()
    (tmp_path / "away").rename(files)
    assert mlflow_registry.register(upload("filed", "a")) == "2"


def test_a_first_start_that_is_killed_is_no_obstacle_to_the_next(tmp_path: Path) -> None:
    """kill -9 in the middle of MLflow's migrations: there is no store yet; what is left of one `mlflow_registry` has met."""
    url = f"sqlite:///{tmp_path / 'mlflow.db'}"
    code = f"from pathlib import Path; from registry.mlflow_registry import MlflowRegistry as R; R({url!r}, Path('.')).prepare()"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as first:
        while not any(has_table(file, "experiments") for file in tmp_path.glob("mlflow.db*")):
            assert first.poll() is None
            time.sleep(0.01)
        first.kill()
    assert not (tmp_path / "mlflow.db").exists()


def has_table(file: Path, name: str) -> bool:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as store:
        try:
            return bool(store.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone())
        except sqlite3.Error:  # it is being made
            return False


def test_only_prepare_makes_a_store(tmp_path: Path, upload: Uploads) -> None:
    """One that is missing is down, and still missing afterwards: when it comes back, nobody may be writing in its place."""
    registry = MlflowRegistry(f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}", tmp_path)
    (tmp_path / "store").mkdir()
    for call in (registry.ping, lambda: registry.register(upload("gone", "a")), lambda: registry.set_champion("gone", "1")):
        with pytest.raises(RegistryDown):
            call()
    assert list((tmp_path / "store").iterdir()) == []


def test_what_mlflow_opens_makes_no_file_and_no_folder(tmp_path: Path) -> None:
    """Not even where the store went away just after it was looked at: an empty one in its place would spoil it."""
    away = tmp_path / "a folder, 100 %" / "mlflow.db"
    registry = MlflowRegistry(f"sqlite:///{away}", tmp_path / "artifacts")
    engine = create_engine(registry._uri)
    with pytest.raises(OperationalError), engine.connect():
        pass
    assert list(tmp_path.iterdir()) == []
    registry.prepare()
    with engine.connect() as store:
        assert store.execute(text("SELECT count(*) FROM experiments")).scalar_one() > 0
    engine.dispose()


def test_a_store_that_breaks_while_it_is_used_is_down(mlflow_registry: MlflowRegistry, upload: Uploads, tmp_path: Path) -> None:
    """Its database's own error comes wrapped as a bad request of ours, and is none."""
    store = tmp_path / "mlflow.db"  # a copy: others use the shared one after us
    assert mlflow_registry._store is not None
    with closing(sqlite3.connect(mlflow_registry._store)) as shared, closing(sqlite3.connect(store)) as copy:
        shared.backup(copy)
    registry = MlflowRegistry(f"sqlite:///{store}", tmp_path / "artifacts")
    registry.register(upload("broken", "a"))
    with closing(sqlite3.connect(store)) as broken, broken:
        broken.execute("DROP TABLE model_versions")
    with pytest.raises(RegistryDown):
        registry.register(upload("broken", "b"))


def test_a_memory_registry_can_be_told_to_be_down(upload: Uploads) -> None:
    """So that others can be tested against a registry that fails."""
    registry = MemoryRegistry()
    registry.register(upload("down", "a"))
    registry.down = True
    calls: tuple[Callable[[], object], ...] = (
        registry.ping,
        registry.prepare,
        lambda: registry.champion("down"),
    )
    for call in calls:
        with pytest.raises(RegistryDown):
            call()
    registry.down = False
    assert registry.champion("down") is None


@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "postgresql://db/mlflow", "file:///tmp/mlruns", ""])
def test_a_store_that_would_put_files_anywhere_is_refused(uri: str) -> None:
    """SQLite needs a folder for the files; other stores are reached through a server."""
    with pytest.raises(ValueError, match="MLflow"):
        MlflowRegistry(uri)


def test_importing_and_pinging_does_not_import_mlflow(mlflow_registry: MlflowRegistry) -> None:
    """It costs 3 s and 160 MB, which a process that only watches must not pay."""
    code = (
        "import sys; from pathlib import Path; from registry.mlflow_registry import MlflowRegistry;"
        f"MlflowRegistry({f'sqlite:///{mlflow_registry._store}'!r}, Path('.')).ping();"
        "sys.exit(any(name in sys.modules for name in ('mlflow', 'sklearn', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
