"""An archive holds the whole state of a stack, puts it back, and is refused where it could do harm."""

from __future__ import annotations

import fcntl
import gzip
import io
import sqlite3
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import select, text

from backup.__main__ import main
from backup.archive import Writer
from problems.catalog import builtin
from problems.declaration import declared
from settings import Settings, read
from storage import claims, jobs, labels, ledger, models, old_versions, predictions, versions
from storage.artifacts import Artifacts
from storage.database import Database
from storage.jobs import NewJob
from storage.ledger import Outcome
from storage.migrate import MIGRATIONS, migrate, newest, revision_of
from storage.predictions import Logged
from storage.schema import jobs as jobs_table
from storage.schema import label_changes
from storage.versions import Version
from tests.postgres import throwaway_database

NOW = 1_795_000_000.0


@dataclass
class Place:
    """A folder and a ledger that a stack could have."""

    settings: Settings
    monkeypatch: pytest.MonkeyPatch

    def run(self, *arguments: str) -> int:
        """The command, with this place's settings."""
        self.monkeypatch.setenv("DATA_DIR", str(self.settings.data_dir))
        self.monkeypatch.setenv("DATABASE_URL", self.settings.database_url)
        return main(list(arguments))

    @property
    def artifacts(self) -> Artifacts:
        return Artifacts(self.settings.data_dir / "artifacts")

    def database(self) -> Database:
        return Database(self.settings.ledger_url, pool_size=2)


def place(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(read(_env_file=None, data_dir=folder, database_url=url), monkeypatch)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def places(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Place, Place]]:
    """Where the stack was, and an empty place."""
    if request.param == "sqlite":
        yield place(tmp_path / "was", "", monkeypatch), place(tmp_path / "is", "", monkeypatch)
        return
    with throwaway_database() as one, throwaway_database() as other:
        yield place(tmp_path / "was", one, monkeypatch), place(tmp_path / "is", other, monkeypatch)


@pytest.fixture
def was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A stack's state on SQLite."""
    made = place(tmp_path / "was", "", monkeypatch)
    fill(made)
    return made


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return place(tmp_path / "is", "", monkeypatch)


def fill(made: Place) -> dict[str, str]:
    """A job of each state, a labelled prediction, and an MLflow store; the jobs' ids."""
    database = made.database()
    migrate(database)
    ids = {}
    with database.begin() as tx:
        models.declare(tx, "default", declared(builtin()), "declared", NOW)
        models.change(tx, "default", champion="3")
        for name in ("done", "running", "queued"):
            new = NewJob.make("predict", "default", "predict", NOW, 4, artifact=f"bodies/{name}/rows.bin")
            jobs.add(tx, [new])
            made.artifacts.write(f"bodies/{name}/rows.bin", [name.encode() * 1_000])
            ids[name] = new.id
        claims.claim(tx, [ids["done"]], "w/1", "t", NOW, 30)
        ledger.finish(tx, "w/1", [Outcome(ids["done"], "succeeded", result='{"a":"é, \\"b\\"\\n"}')], NOW)
        claims.claim(tx, [ids["running"]], "w/2", "t", NOW, 30)
        predictions.log(tx, [Logged(ids["done"], "default", "3", 1, b"\x00\xff\n,", None, NOW)])
        labels.store(tx, "default", [((ids["done"], 0), "1")], lambda: NOW)
        labels.store(tx, "default", [((ids["done"], 0), "0")], lambda: NOW + 1)
    database.close()
    store = made.settings.data_dir / "mlflow"
    (store / "artifacts" / "1").mkdir(parents=True)
    (store / "artifacts" / "1" / "model.skops").write_bytes(b"model")
    with closing(sqlite3.connect(store / "mlflow.db")) as mlflow, mlflow:
        mlflow.execute("CREATE TABLE runs (artifact_uri TEXT)")
        mlflow.execute("INSERT INTO runs VALUES (?)", ((store / "artifacts" / "1").resolve().as_uri(),))
    (made.settings.data_dir / "api_key").write_text("secret-of-this-machine")
    return ids


def test_what_was_backed_up_is_there_after_a_restore_elsewhere(places: tuple[Place, Place], tmp_path: Path) -> None:
    """Rows, files and models come back byte for byte; what ran then waits, its attempt refunded; addresses have moved along."""
    was, now = places
    ids = fill(was)
    file = str(tmp_path / "backup.tar.gz")
    assert was.run("write", file) == 0
    assert now.run("restore", file) == 0
    database = now.database()
    with database.begin() as tx:
        found = jobs.get_many(tx, list(ids.values()))
        assert {name: found[each].status for name, each in ids.items()} == {
            "done": "succeeded", "running": "queued", "queued": "queued",
        }  # fmt: skip
        assert found[ids["running"]].attempt == 0
        assert found[ids["done"]].result == '{"a":"é, \\"b\\"\\n"}'
        assert predictions.get_many(tx, [ids["done"]])[ids["done"]].features == b"\x00\xff\n,"
        model = models.get(tx, "default")
        assert model is not None and model.alias_pending  # the ledger's champion is the one, whatever MLflow's copy says
        due = set(tx.execute(select(jobs_table.c.id).where(jobs_table.c.next_publish_at <= time.time())).scalars())
        assert due >= {ids["running"], ids["queued"]}
        assert len(tx.execute(select(label_changes)).all()) == 1
        labels.store(tx, "default", [((ids["done"], 0), "1")], lambda: NOW + 2)  # its key goes on where it was
    database.close()
    assert now.artifacts.path("bodies/queued/rows.bin").read_bytes() == b"queued" * 1_000
    store = now.settings.data_dir / "mlflow"
    with closing(sqlite3.connect(store / "mlflow.db")) as mlflow:
        assert mlflow.execute("SELECT artifact_uri FROM runs").fetchone()[0] == (store / "artifacts" / "1").resolve().as_uri()
    assert (store / "artifacts" / "1" / "model.skops").read_bytes() == b"model"


def test_a_version_that_was_pruned_is_missed_by_no_backup_and_by_no_restore(
    places: tuple[Place, Place], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Gone on purpose, or about to go: only a file that is lost is told of. The marks come back, so nobody picks it there."""
    was, now = places
    fill(was)
    database = was.database()
    with database.begin() as tx:
        for number, pruned_at, gone_at in ((1, NOW, NOW), (2, NOW, None), (3, None, None), (4, None, None)):
            name = f"models/default/{number}.skops"
            versions.add(tx, Version("default", number, "job", NOW, name, "0", {}, {}, None, {}, {}, None, pruned_at, gone_at))
    database.close()
    for number in (2, 4):
        was.artifacts.write(f"models/default/{number}.skops", [b"model"])
    file = str(tmp_path / "backup.tar.gz")
    assert was.run("write", file) == 0
    assert "1 files that the ledger names were not there, the first is models/default/3.skops\n" in capsys.readouterr().err
    was.artifacts.write("models/default/3.skops", [b"model"])
    file = str(tmp_path / "whole.tar.gz")
    assert [was.run("write", file), now.run("check", file), now.run("restore", file)] == [0, 0, 0]
    assert "were not there" not in capsys.readouterr().err
    database = now.database()
    with database.read() as tx:
        found = {each.number: (each.pruned_at, each.gone_at) for each in versions.listed(tx, "default", 9, None).entries}
        assert [each.name for each in old_versions.leaving(tx, 9)] == ["2"]
    database.close()
    assert found == {1: (NOW, NOW), 2: (NOW, None), 3: (None, None), 4: (None, None)}


def test_a_ledger_of_the_release_before_is_backed_up_and_brought_to_these_tables(
    was: Place, empty: Place, tmp_path: Path
) -> None:
    """As before an upgrade: it does not know yet what a pruned version is."""
    database = was.database()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.begin() as tx:
        config.attributes["connection"] = tx
        command.downgrade(config, "0008")
    database.close()
    file = str(tmp_path / "backup.tar.gz")
    assert [was.run("write", file), empty.run("restore", file)] == [0, 0]
    database = empty.database()
    with database.read() as tx:
        assert revision_of(tx) == newest()
    database.close()


def test_a_file_of_mlflows_that_is_pruned_during_a_backup_fails_it_not(
    was: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there when the folder is read and gone when its turn comes: the archive is whole, without it."""
    add, gone = Writer.add, was.settings.data_dir / "mlflow" / "artifacts" / "1" / "model.skops"

    def slow(self: Writer, name: str, path: Path) -> None:
        gone.unlink(missing_ok=True)
        add(self, name, path)

    monkeypatch.setattr(Writer, "add", slow)
    file = str(tmp_path / "backup.tar.gz")
    assert [was.run("write", file), was.run("check", file)] == [0, 0]


def test_no_secret_is_in_an_archive(was: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of the settings nor of the folder; nor a URL with a password in it."""
    monkeypatch.setenv("METRICS_TOKEN", "secret-of-the-settings")
    monkeypatch.setenv("REDIS_URL", "redis://:secret-of-the-broker@127.0.0.1/0")
    file = tmp_path / "backup.tar.gz"
    assert was.run("write", str(file)) == 0
    content = gzip.decompress(file.read_bytes())
    assert b"PERFORMANCE_THRESHOLD" in content and b"secret-of" not in content
    assert file.stat().st_mode & 0o077 == 0


def test_a_backup_of_a_busy_stack_has_every_file_that_its_ledger_names(was: Place, tmp_path: Path) -> None:
    """While jobs with files come and go all the time, each snapshot's jobs find theirs in the archive."""
    stop = threading.Event()

    def busy() -> None:
        database, artifacts = was.database(), was.artifacts
        while not stop.is_set():
            new = NewJob.make("predict", "default", "bulk", NOW, 4)
            name = f"bodies/{new.id}/rows.bin"
            artifacts.write(name, [b"x" * 5_000])
            with database.begin() as tx:
                jobs.add(tx, [NewJob.make("predict", "default", "bulk", NOW, 4, artifact=name)])
            time.sleep(0.002)
            with database.begin() as tx:
                tx.execute(jobs_table.delete().where(jobs_table.c.artifact == name))
            artifacts.remove(f"bodies/{new.id}")
        database.close()

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for n in range(4):
            assert was.run("write", str(tmp_path / f"{n}.tar.gz")) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for n in range(4):
        with tarfile.open(tmp_path / f"{n}.tar.gz") as tar:
            tar.extract("ledger.db", tmp_path / str(n), filter="data")
            with closing(sqlite3.connect(tmp_path / str(n) / "ledger.db")) as copy:
                named = {f"artifacts/{row[0]}" for row in copy.execute("SELECT artifact FROM jobs WHERE artifact IS NOT NULL")}
            assert named <= set(tar.getnames())


def test_a_damaged_archive_is_refused_before_anything_is_touched(
    was: Place, empty: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A flipped byte, an end that is missing, a file too many: each is named, and the place stays empty."""
    file = tmp_path / "backup.tar.gz"
    was.run("write", str(file))
    sound = gzip.decompress(file.read_bytes())
    for n, (content, said) in enumerate(
        [
            (sound.replace(b"queuedqueued", b"queuedQueued", 1), "artifacts/bodies/queued/rows.bin has SHA-256"),
            (sound[: len(sound) // 2], "cannot be read to its end"),
            (_with(sound, "artifacts/extra"), "artifacts/extra is in it, though its manifest does not name it"),
            (_with(sound, "../outside"), "leads out of the archive"),
        ]
    ):
        broken = tmp_path / f"{n}.tar.gz"
        broken.write_bytes(gzip.compress(content))
        assert empty.run("restore", str(broken)) == 1
        assert said in capsys.readouterr().err
    file.write_bytes(file.read_bytes()[:-100])
    assert empty.run("check", str(file)) == 1
    assert not list(empty.settings.data_dir.glob("ledger*")) and not (empty.settings.data_dir / "artifacts").exists()


def _with(content: bytes, name: str) -> bytes:
    """The archive with one more file, at its beginning."""
    out = io.BytesIO()
    with tarfile.open(mode="w", fileobj=out) as tar:
        tar.addfile(tarfile.TarInfo(name))
    return out.getvalue()[:512] + content


def test_a_place_that_is_not_empty_is_kept_unless_it_is_to_be_replaced(
    was: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "backup.tar.gz")
    was.run("write", file)
    was.artifacts.write("bodies/later/rows.bin", [b"later"])
    assert was.run("restore", file) == 1
    assert "There are a ledger and artifacts and MLflow's store already" in capsys.readouterr().err
    assert was.artifacts.path("bodies/later/rows.bin").exists()
    assert was.run("restore", file, "--replace") == 0
    assert not was.artifacts.path("bodies/later/rows.bin").exists()
    assert was.artifacts.path("bodies/queued/rows.bin").exists()


def test_a_running_stack_is_not_restored_over(was: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "backup.tar.gz")
    was.run("write", file)
    with (was.settings.data_dir / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert was.run("restore", file, "--replace") == 1
    assert "A stack runs on" in capsys.readouterr().err


@pytest.mark.postgres
def test_a_database_that_others_are_connected_to_is_not_restored_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with throwaway_database() as url:
        made = place(tmp_path / "was", url, monkeypatch)
        fill(made)
        file = str(tmp_path / "backup.tar.gz")
        made.run("write", file)
        other = made.database()
        with other.read() as tx:
            tx.execute(text("SELECT 1"))
            assert made.run("restore", file, "--replace") == 1
        other.close()
    assert "1 other connections to the database are open: stop the stack first." in capsys.readouterr().err


def test_a_backup_of_a_newer_release_is_refused(
    was: Place, empty: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = was.database()
    with database.begin() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9000'"))
    database.close()
    file = str(tmp_path / "backup.tar.gz")
    assert was.run("write", file) == 0
    assert empty.run("restore", file) == 1
    assert "is of revision 9000, this release knows up to" in capsys.readouterr().err


def test_where_there_is_nothing_there_is_nothing_to_back_up(empty: Place, tmp_path: Path) -> None:
    assert empty.run("write", str(tmp_path / "backup.tar.gz")) == 1
    assert list(tmp_path.glob("backup*")) == []
