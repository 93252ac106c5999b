"""Old versions leave the ledger's choice, the registry and the disk, in this order, and nothing stops for it."""

from __future__ import annotations

import copy
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from loguru import logger
from sqlalchemy import event, update

from ml.model_file import SwappedModel
from problems.catalog import builtin
from problems.declaration import declared
from registry.mlflow_registry import MlflowRegistry
from registry.port import ModelRegistry, UnknownVersion
from storage import champions, decisions, incidents, models, old_versions, versions
from storage.decisions import Decision
from storage.schema import versions as version_rows
from storage.versions import Version
from tests.workers.conftest import Clock, House
from tests.workers.test_loop import PLANE, feed
from workers import outcome, recall, reproduce, serving
from workers.aliases import Aliases
from workers.old_versions import AGAIN_S, EVERY_S, OldVersions
from workers.reproduce import CannotReproduce
from workers.run import JobFailed
from workers.vigil import EVEN_S

DAY = 86_400.0
NEWEST = list(range(4, 15))  # of the fourteen that there are: those that may be recalled, and the champion
# MLflow 3.17's own mapping, when it is first used; SQLAlchemy 2.1 still does what it asks.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


class Years:
    """A house that has promoted fourteen versions, a day apart, and 200 days later what prunes them.

    Args:
        promoted: whether it has them already.
    """

    def __init__(self, house: House, registry: ModelRegistry, promoted: bool = False) -> None:
        self.house, self.steady = house, Clock(1_000.0)
        self.room = house.room = replace(house.room, registry=registry)
        if not promoted:
            self._promote()
        self.pruner = self.started()

    def _promote(self) -> None:
        self.house.tick()
        for seed in range(13):
            self.train(seed)
        self.house.clock.now += 200 * DAY

    def train(self, seed: int) -> None:
        """Some rows more, and a training."""
        self.house.clock.now += DAY
        feed(self.house, 20, "none", seed)
        asked = {"reason": "growth", "change_position": None, "from_version": self.house.model().champion, "seed": seed}
        self.house.post("train", payload=msgspec.json.encode(asked))
        self.house.settle()

    def started(self) -> OldVersions:
        """As after a start of the sweeper, a quarter of an hour later."""
        self.pruner = OldVersions(self.room, self.steady)
        self._pass(EVEN_S)
        return self.pruner

    def _pass(self, seconds: float) -> None:
        self.steady.now += seconds
        self.house.clock.now += seconds

    def prune(self, seconds: float = 1.0) -> None:
        """Time passes evenly, and the sweeper comes by."""
        self._pass(seconds)
        self.pruner.prune()

    def version(self, number: int) -> Version:
        with self.house.db.read() as tx:
            found = versions.get(tx, "default", str(number))
        assert found is not None
        return found

    def made_by(self, number: int) -> Decision:
        with self.house.db.read() as tx:
            return decisions.of_job(tx, "default", self.version(number).job_id)[-1]

    def where(self) -> tuple[list[int], list[int], list[int]]:
        """Which versions are not marked, which have a file, and which the registry still has."""
        every = [self.version(number) for number in range(1, 15)]
        on_disk = [each.number for each in every if self.room.artifacts.path(each.artifact).exists()]
        fetched = [each.number for each in every if self._is_fetched(each)]
        return [each.number for each in every if each.pruned_at is None], on_disk, fetched

    def _is_fetched(self, version: Version) -> bool:
        try:
            self.room.registry.fetch(version.model, version.name, self.house.settings.data_dir / "fetched")
        except UnknownVersion:
            return False
        return True


@pytest.fixture(scope="module", autouse=True)
def every_challenger_wins() -> Iterator[None]:
    """What is shown here begins after the gate."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ml.challenger._wins", lambda *_: True)
        yield


@pytest.fixture(scope="module")
def model_years(tmp_path_factory: pytest.TempPathFactory, every_challenger_wins: None) -> House:
    """Made once, with the registry in memory, and left alone: fourteen trainings take seconds."""
    folder = tmp_path_factory.mktemp("years")
    house = House(folder)
    house.declare()
    Years(house, house.registry)
    house.room.close()
    return house


@pytest.fixture
def years(model_years: House, tmp_path: Path) -> Iterator[Years]:
    """A copy of them."""
    shutil.copytree(model_years.settings.data_dir, tmp_path / "years")
    house = House(tmp_path / "years")
    house.clock.now, house.registry = model_years.clock.now, copy.deepcopy(model_years.registry)
    yield Years(house, house.registry, promoted=True)
    house.room.close()


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_what_nobody_needs_vanishes_from_ledger_disk_and_mlflow_and_the_newest_stay(house: House) -> None:
    """Three of fourteen, with their runs; rows and decisions read on, the champion answers, and a further look finds nothing."""
    stored = house.settings.data_dir / "mlflow"
    mlflow = MlflowRegistry(f"sqlite:///{stored / 'mlflow.db'}", stored / "artifacts")
    mlflow.prepare()
    years = Years(house, mlflow)
    before, told = size(stored / "artifacts"), house.decisions()
    years.prune()
    assert years.where() == (NEWEST, NEWEST, NEWEST)
    assert size(stored / "artifacts") == pytest.approx(before * 11 / 14, rel=0.02)
    with closing(sqlite3.connect(stored / "mlflow.db")) as store:
        assert store.execute("SELECT count(*) FROM runs").fetchone() == (11,)
        assert store.execute("SELECT count(*) FROM logged_models").fetchone() == (11,)
    gone = years.version(1)
    assert (gone.pruned_at, gone.gone_at, len(gone.sha256)) == (house.clock(), house.clock(), 64)
    assert house.decisions() == told
    Aliases(years.room).follow()
    assert mlflow.champion("default") == "14"
    years.prune(EVERY_S)
    assert years.where() == (NEWEST, NEWEST, NEWEST)
    house.predict(np.array([[0.1, 2.0]]))


@pytest.mark.parametrize("killed", ["registry.forget", "artifacts.remove", "old_versions.gone"])
@pytest.mark.parametrize("done", [False, True])
def test_a_kill_between_any_two_steps_leaves_what_the_next_start_ends(
    years: Years, monkeypatch: pytest.MonkeyPatch, killed: str, done: bool
) -> None:
    """Before a step or after it: all three are marked, so nobody picks them, and in the end nothing of them is left."""
    owner, name = killed.split(".")
    module: object = old_versions if owner == "old_versions" else getattr(years.room, owner)
    step = getattr(module, name)

    def kill(*given: object) -> None:
        if done:
            step(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, name, kill)
        with pytest.raises(KeyboardInterrupt):
            years.prune()
    kept, on_disk, fetched = years.where()
    assert kept == NEWEST
    assert (on_disk != NEWEST, fetched != NEWEST) == (True, True)
    years.started()
    years.prune()
    assert years.where() == (NEWEST, NEWEST, NEWEST)
    assert [years.version(number).gone_at for number in (1, 2, 3)] == [years.house.clock()] * 3


def test_while_mlflow_is_away_everything_goes_on_and_it_is_said_once(years: Years) -> None:
    """The files wait with MLflow's, the sweeper asks once a minute, and when it is back all of it goes."""
    lines: list[str] = []
    handler = logger.add(lambda line: lines.append(str(line)), level="WARNING", format="{message}")
    registry = years.house.registry
    registry.down = True
    for _ in range(3):
        years.prune(AGAIN_S)
    logger.remove(handler)
    assert len(lines) == 1
    assert lines[0].startswith("pruned versions wait to be deleted: ")
    registry.down = False
    assert years.where() == (NEWEST, list(range(1, 15)), list(range(1, 15)))
    years.prune()
    assert len(years.where()[1]) == 14
    years.prune(AGAIN_S)
    assert years.where() == (NEWEST, NEWEST, NEWEST)


def test_a_few_go_at_a_time_and_between_two_looks_nobody_is_asked(years: Years, monkeypatch: pytest.MonkeyPatch) -> None:
    """One a second here; once nothing is left, an hour without a statement or a call to the registry."""
    monkeypatch.setattr("workers.old_versions.AT_ONCE", 1)
    left = []
    for _ in range(4):
        years.prune()
        left.append(len(years.where()[1]))
    assert left == [13, 12, 11, 11]
    asked: list[object] = []
    event.listen(years.house.db.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    years.house.registry.down = True
    for _ in range(100):
        years.prune((EVERY_S - 1) / 100)
    assert asked == []
    years.prune(EVERY_S)
    assert 0 < len(asked) <= 12


def test_a_clock_that_is_set_to_next_year_costs_no_version(years: Years) -> None:
    """Nothing is marked before it has run evenly for a quarter of an hour."""
    house = years.house
    house.clock.now -= 200 * DAY
    years.prune()
    house.clock.now += 365 * DAY
    for _ in range(3):
        years.prune()
    assert years.where()[0] == list(range(1, 15))
    years.prune(EVEN_S)
    assert years.where()[0] == NEWEST


def test_what_a_training_that_came_to_nothing_has_registered_goes_an_hour_after_its_end(
    years: Years, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version served when it ended: no row of the ledger names its version, and the registry is asked once."""

    def superseded(*_: object) -> None:
        raise JobFailed("superseded", "Another version began to serve.")

    with monkeypatch.context() as patched:
        patched.setattr(outcome, "won", superseded)
        years.train(99)
    years.prune()
    years.prune()
    fetched = years.house.settings.data_dir / "fetched"
    years.room.registry.fetch("default", "15", fetched)
    asked: list[str] = []
    forget = years.room.registry.forget_job

    def noted(model: str, job_id: str) -> None:
        asked.append(job_id)
        forget(model, job_id)

    monkeypatch.setattr(years.room.registry, "forget_job", noted)
    for _ in range(4):
        years.prune(EVERY_S)
    assert asked == [years.house.trainings()[-1].id]
    with pytest.raises(UnknownVersion):
        years.room.registry.fetch("default", "15", fetched)
    assert years.where() == (NEWEST, NEWEST, NEWEST)


def test_nobody_picks_a_version_that_is_marked(years: Years) -> None:
    """While its file is still there: not the gate that recalls, not a job that began with it, nor an alias moved by hand."""
    house = years.house
    recalling = declared(builtin()) | {"recall": True}
    with house.db.begin() as tx:
        models.declare(tx, "default", recalling, "declared", house.clock())
        champion = serving.champion(years.room, tx, "default")
        assert [each.number for each in recall.earlier(tx, champion)] == list(range(13, 3, -1))
        tx.execute(update(version_rows).where(version_rows.c.number.in_([3, 9])).values(pruned_at=house.clock()))
        assert [each.number for each in recall.earlier(tx, champion)] == [13, 12, 11, 10, 8, 7, 6, 5, 4]
    assert serving.version(years.room, "default", "8") is not None
    assert serving.version(years.room, "default", "9") is None
    with pytest.raises(UnknownVersion, match="version 9 of default was pruned"):
        years.room.shelf.pipeline(years.version(9))
    aliases = Aliases(years.room)
    aliases.follow()
    house.registry.set_champion("default", "3")
    aliases.follow()
    assert house.model().champion == "14"
    with house.db.read() as tx:
        told = incidents.listed(tx, 1, None).entries[0]
    assert told.lines[0].endswith(" version 3 was pruned after RETENTION_DAYS and is refused; version 14 serves on")


def test_where_the_champions_file_is_refused_a_pruned_predecessor_does_not_serve(years: Years) -> None:
    """Version 4 serves again; its file and the registry's copy are others than then, and version 3 is pruned: nobody answers."""
    house = years.house
    with house.db.begin() as tx:
        champions.serve(tx, "default", "4", 0)
        tx.execute(update(version_rows).where(version_rows.c.number == 3).values(pruned_at=house.clock()))
    years.room.artifacts.write(years.version(4).artifact, [b"another"])
    house.registry._files["default", "4"] = b"another"
    room = replace(years.room)  # with nothing in memory
    with house.db.read() as tx, pytest.raises(SwappedModel):
        room.shelf.champion(tx, "default")
    assert [each.number for each, _ in room.shelf.refused] == [4]


def test_a_pruned_version_is_reproduced_to_the_same_bytes(years: Years) -> None:
    """And so is one that was compared with it: the champions of then are trained again first, and held against their hashes."""
    years.prune()
    for number in (1, 3, 4):
        again = reproduce.run(years.room, years.made_by(number).id)
        assert (again.faults, again.made) == ([], f"version {number} of default, SHA-256 {years.version(number).sha256}")
    with years.house.db.begin() as tx:
        tx.execute(update(version_rows).where(version_rows.c.number == 2).values(sha256="0" * 64))
    with pytest.raises(CannotReproduce, match=r"Version 2, which was pruned since, does not come out as it was: SHA-256 \w{12}…"):
        reproduce.run(years.room, years.made_by(3).id)


def test_recalled_versions_that_were_pruned_since_are_trained_again_too(house: House) -> None:
    """A gate that compared three earlier versions, all of them gone by now."""
    house.declare("default", **PLANE, recall=True)
    years = Years(house, house.registry)
    years.prune()
    compared = years.made_by(4).evidence["data"]
    assert (compared["champion"], compared["recall"]) == ("3", ["2", "1"])
    assert reproduce.run(years.room, years.made_by(4).id).faults == []
