"""What MLflow keeps of a version that is forgotten: nothing that grows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from benchmarks.chaos.servers import MlflowServer
from registry import forgetting
from registry.mlflow_registry import MlflowRegistry
from registry.port import Upload

Uploads = Callable[..., Upload]
TABLES = ("runs", "metrics", "latest_metrics", "params", "tags", "logged_models", "logged_model_metrics", "logged_model_tags")
# MLflow 3.17's own mapping, when it is first used; SQLAlchemy 2.1 still does what it asks.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


def _files(registry: MlflowRegistry) -> set[Path]:
    assert registry._artifact_root is not None
    return set(registry._artifact_root.rglob("*"))


def _rows(registry: MlflowRegistry) -> dict[str, int]:
    assert registry._store is not None
    with closing(sqlite3.connect(registry._store)) as store:
        return {table: store.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}


def test_its_run_its_rows_and_its_files_are_gone_down_to_the_folder(mlflow_registry: MlflowRegistry, upload: Uploads) -> None:
    """The store holds what it held before the version was made, not a trash full of it."""
    mlflow_registry.register(upload("lean", "a"))
    before = _files(mlflow_registry), _rows(mlflow_registry)
    mlflow_registry.forget("lean", mlflow_registry.register(upload("lean", "b")))
    assert (_files(mlflow_registry), _rows(mlflow_registry)) == before


@pytest.mark.parametrize("step", ["_delete_files", "_forget_run"])
def test_what_was_cut_off_in_the_middle_is_ended_by_the_next_call(
    mlflow_registry: MlflowRegistry, upload: Uploads, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A kill after the model's files, or before its run: the version is still there to find the rest by."""
    model = f"cut{step.replace('_', '-')}"
    before = _files(mlflow_registry), _rows(mlflow_registry)
    version = mlflow_registry.register(upload(model, "a"))
    whole: Any = getattr(forgetting, step)

    def cut(*given: object) -> None:
        if step == "_delete_files":
            whole(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(forgetting, step, cut)
        with pytest.raises(KeyboardInterrupt):
            mlflow_registry.forget(model, version)
    assert _rows(mlflow_registry) != before[1]
    mlflow_registry.forget(model, version)
    assert (_files(mlflow_registry), _rows(mlflow_registry)) == before


def test_a_run_in_the_trash_is_deleted_with_its_version_and_other_trash_is_left(
    mlflow_registry: MlflowRegistry, upload: Uploads
) -> None:
    """Somebody has deleted run and logged model by hand, and another run, which is none of ours to empty."""
    client = MlflowClient(mlflow_registry._uri)
    theirs = client.create_run("0").info.run_id
    client.delete_run(theirs)
    before = _files(mlflow_registry), _rows(mlflow_registry)
    version = mlflow_registry.register(upload("trashed", "a"))
    made = client.get_model_version("trashed", version)
    client.delete_logged_model(str(made.source).removeprefix("models:/"))
    client.delete_run(str(made.run_id))
    mlflow_registry.forget("trashed", version)
    assert (_files(mlflow_registry), _rows(mlflow_registry)) == before
    assert client.get_run(theirs).info.lifecycle_stage == "deleted"


def test_what_another_version_was_made_of_by_hand_stays(mlflow_registry: MlflowRegistry, upload: Uploads, tmp_path: Path) -> None:
    """A copy under another name in MLflow's own page: it still has its run and its file."""
    sent = upload("origin", "a")
    version = mlflow_registry.register(sent)
    client = MlflowClient(mlflow_registry._uri)
    copy = client.copy_model_version(f"models:/origin/{version}", "theirs")
    mlflow_registry.forget("origin", version)
    with pytest.raises(MlflowException):
        client.get_model_version("origin", version)
    mlflow_registry.fetch("theirs", str(copy.version), tmp_path / "model.skops")
    assert (tmp_path / "model.skops").read_bytes() == sent.file.read_bytes()
    assert client.get_run(str(copy.run_id)).info.lifecycle_stage == "active"


@pytest.mark.parametrize("step", ["_log_model", "MlflowRegistry._name"])
def test_what_a_killed_registering_has_left_is_gone_with_the_next_attempt_of_its_job(
    mlflow_registry: MlflowRegistry, upload: Uploads, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A kill before the model is logged, or between model and version: one run, one model, one version in the end.

    Where there is no next attempt, nothing of it stays once it is asked for.
    """
    model = f"killed-{step[-4:]}"
    sent = upload(model, "one")
    mlflow_registry.register(upload(f"{model}-too", "one"))
    mlflow_registry.register(upload(model, "another"))
    before = _rows(mlflow_registry)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"registry.mlflow_registry.{step}", killed)
        with pytest.raises(KeyboardInterrupt):
            mlflow_registry.register(sent)
    left = _rows(mlflow_registry)
    assert left["runs"] == before["runs"] + 1
    files = _files(mlflow_registry)
    assert mlflow_registry.register(sent) == "2"
    after = _rows(mlflow_registry)
    assert (after["runs"], after["logged_models"]) == (before["runs"] + 1, before["logged_models"] + 1)
    if step != "_log_model":
        assert len(_files(mlflow_registry)) == len(files)
    mlflow_registry.forget_job(model, "one")
    with monkeypatch.context() as patched:
        patched.setattr(f"registry.mlflow_registry.{step}", killed)
        with pytest.raises(KeyboardInterrupt):
            mlflow_registry.register(sent)
    mlflow_registry.forget_job(model, "one")
    assert _rows(mlflow_registry) == before


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("server"))
    made.start()
    yield made
    made.remove()


@pytest.mark.slow
def test_a_servers_files_are_deleted_and_its_run_lies_in_the_trash(server: MlflowServer, upload: Uploads) -> None:
    """Over HTTP nobody may do more: `mlflow gc` removes the rows. Twice is once here too."""
    registry = MlflowRegistry(server.url)
    registry.prepare()
    registry.register(upload("remote", "a"))
    before = set((server.folder / "artifacts").rglob("*"))
    version = registry.register(upload("remote", "b"))
    run = str(MlflowClient(server.url).get_model_version("remote", version).run_id)
    for _ in range(2):
        registry.forget("remote", version)
    assert set((server.folder / "artifacts").rglob("*")) == before
    client = MlflowClient(server.url)
    assert client.get_run(run).info.lifecycle_stage == "deleted"
    assert [str(each.version) for each in client.search_model_versions("name = 'remote'")] == ["1"]
