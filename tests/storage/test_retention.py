"""What is old goes, but for what models learn from; and totals only grow."""

from __future__ import annotations

from pathlib import Path

from storage import claims, datasets, jobs, labels, ledger, orphans, predictions, retention
from storage.artifacts import Artifacts
from storage.census import Census
from storage.database import Database
from storage.datasets import NewDataset
from storage.ids import new_id
from storage.jobs import NewJob
from storage.ledger import Outcome
from storage.predictions import Logged
from tests.storage.conftest import NOW

DAY = 86_400.0


def ended(db: Database, at: float) -> str:
    """A predict job that was accepted and succeeded at this moment, with its prediction in the log."""
    new = NewJob.make("predict", "default", "predict", at, 4, payload=b"x")
    with db.begin() as tx:
        jobs.add(tx, [new])
        claims.claim(tx, [new.id], f"w{new.id}", "t", at, 30)
        ledger.finish(tx, f"w{new.id}", [Outcome(new.id, "succeeded", result="1")], at)
        predictions.log(tx, [Logged(new.id, "default", "1", 1, b"x", None, at)])
    return new.id


def test_old_jobs_go_and_young_and_open_ones_stay(db: Database) -> None:
    old = ended(db, NOW)
    waiting = NewJob.make("predict", "default", "predict", NOW, 4)
    with db.begin() as tx:
        jobs.add(tx, [waiting])
    young = ended(db, NOW + 90 * DAY)
    with db.begin() as tx:
        folders = retention.prune(tx, NOW + DAY, 100)
        assert jobs.get(tx, old) is None
        assert {each.id for each in jobs.get_many(tx, [waiting.id, young]).values()} == {waiting.id, young}
    assert folders == [f"results/{old}", f"bodies/{old}"]


def test_a_labelled_prediction_stays_with_its_rows(db: Database) -> None:
    job = ended(db, NOW)
    with db.begin() as tx:
        labels.store(tx, "default", [((job, 0), "1")], lambda: NOW)
        assert retention.prune(tx, NOW + DAY, 100) == [f"results/{job}"]
        assert set(predictions.get_many(tx, [job])) == {job}


def test_totals_do_not_shrink_when_jobs_are_pruned(db: Database) -> None:
    for n in range(5):
        ended(db, NOW + n)
    with db.begin() as tx:
        before = Census().take(tx, NOW + DAY)
        retention.prune(tx, NOW + DAY, 3)
        assert Census().take(tx, NOW + DAY) == before
        retention.prune(tx, NOW + DAY, 3)
        assert Census().take(tx, NOW + DAY) == before


def test_pruning_goes_in_small_steps(db: Database) -> None:
    ids = [ended(db, NOW + n) for n in range(5)]
    with db.begin() as tx:
        retention.prune(tx, NOW + DAY, 2)
        assert len(jobs.get_many(tx, ids)) == 3


def test_files_that_nothing_refers_to_go_and_all_others_stay(db: Database, tmp_path: Path) -> None:
    """Old bodies without a job, a dataset's and a model's files of attempts that did not end; nothing young, nothing needed."""
    artifacts = Artifacts(tmp_path / "artifacts")
    kept, lost, young = ended(db, NOW), new_id(NOW), new_id(NOW + 90 * DAY)
    with db.begin() as tx:
        datasets.add(tx, NewDataset(kept, kept, "default", 1, 0, "upload", {}, f"datasets/{kept}/2.arrow", "0"), NOW)
    needed = [
        f"bodies/{kept}/rows.bin",
        f"datasets/{kept}/2.arrow",
        f"bodies/{young}/rows.bin",
        f"models/default/{young}-1.skops",
    ]
    for name in [*needed, f"bodies/{lost}/rows.bin", f"datasets/{kept}/1.arrow", f"models/default/{lost}-1.skops"]:
        artifacts.write(name, [b"x"])
    with db.read() as tx:
        found = orphans.find(tx, artifacts, NOW + DAY)
    assert sorted(found) == [f"bodies/{lost}", f"datasets/{kept}/1.arrow", f"models/default/{lost}-1.skops"]
    assert orphans_after_removal(db, artifacts, found) == []


def orphans_after_removal(db: Database, artifacts: Artifacts, found: list[str]) -> list[str]:
    for name in found:
        artifacts.remove(name)
    with db.read() as tx:
        return orphans.find(tx, artifacts, NOW + DAY)
