"""Which versions may lose their files: those that nobody serves with, goes back to, or may ask for again."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import champions, claims, decisions, detectors, jobs, ledger, models, old_versions, orphans, trials, versions
from storage.artifacts import Artifacts
from storage.champions import NothingToRollBack
from storage.database import Database
from storage.ids import new_id
from storage.jobs import NewJob
from storage.old_versions import NEWEST
from storage.trials import Trial
from storage.versions import Version
from tests.storage.conftest import NOW

DAY = 86_400.0
LATE = NOW + 200 * DAY  # as all that follows sees it, with 90 days to keep things
BEFORE = LATE - 90 * DAY


def train(db: Database, number: int, at: float, before: str | None = None) -> None:
    """A version that was made and promoted at a moment, in place of the champion or of `before`."""
    job = new_id(at)
    with db.begin() as tx:
        champion = models.lock(tx, "default").champion
        made = Version(
            model="default",
            number=number,
            job_id=job,
            created_at=at,
            artifact=f"models/default/{job}-1.skops",
            sha256=f"hash {number}",
            metrics={"score": 0.9},
            data={},
            promoted_from=before or champion,
            reference={},
            sketch={},
            classes=[0, 1],
        )
        versions.add(tx, made)
        champions.serve(tx, "default", str(number), 0)
        champions.record(tx, "default", "promote", str(number), champion, f"Version {number}.", at, job)


def mark(db: Database, most: int = 100) -> list[str]:
    with db.begin() as tx:
        return old_versions.mark(tx, "default", BEFORE, LATE, most)


def names(*numbers: int) -> list[str]:
    return [str(number) for number in numbers]


@pytest.fixture
def aged(db: Database) -> Database:
    """Twenty versions, one a day, all of them older than 90 days by now."""
    for number in range(1, 21):
        train(db, number, NOW + number * DAY)
    return db


def test_the_newest_stay_however_old_they_are(aged: Database) -> None:
    """Ten that may be recalled and the champion beside them; all others go, oldest first, and are not marked again."""
    assert mark(aged, most=4) == names(1, 2, 3, 4)
    assert mark(aged) == names(*range(5, 21 - NEWEST))
    assert mark(aged) == []
    with aged.read() as tx:
        left = [each.number for each in versions.listed(tx, "default", 100, None).entries if each.pruned_at is None]
        assert left == list(range(20, 9, -1))
        assert {each.pruned_at for each in versions.listed(tx, "default", 100, None).entries} == {None, LATE}


def test_a_version_that_served_until_lately_stays_and_so_does_a_young_one(db: Database) -> None:
    """Of forty versions the first alone is older than 90 days; it was replaced within them."""
    train(db, 1, BEFORE - 1)
    for number in range(2, 41):
        train(db, number, BEFORE + number)
    with db.read() as tx:
        assert old_versions.candidates(tx, BEFORE) == ["default"]
        assert old_versions.candidates(tx, BEFORE - 2) == []
    assert mark(db) == []


def test_a_version_stays_for_as_long_after_it_served_as_after_it_was_made(aged: Database) -> None:
    """The champion of old times, which a person went back to and whose successor is 89 days old."""
    with aged.begin() as tx:
        champions.serve(tx, "default", "3", 0, on_probation=False)
        champions.record(tx, "default", "rollback", "3", "20", "Back to 3.", BEFORE - DAY)
        champions.record(tx, "default", "promote", "20", "3", "And forth again.", BEFORE + DAY)
        champions.serve(tx, "default", "20", 0, on_probation=False)
    assert mark(aged) == names(1, 2, *range(4, 10))


def test_who_serves_and_whom_a_rollback_goes_back_to_stay(aged: Database) -> None:
    """Long ago version 5 was set in place by hand: it serves, 4 is its predecessor, and 7 is what probation compares it with."""
    with aged.begin() as tx:
        champions.serve(tx, "default", "7", 0)
        champions.serve(tx, "default", "5", 0)
        found = detectors.get(tx, "default", "5")
        assert found is not None
        assert found.probation == {"against": "7"}
    assert mark(aged) == names(1, 2, 3, 6, 8, 9)


def test_both_sides_of_a_trial_stay(aged: Database) -> None:
    """However long it takes."""
    with aged.begin() as tx:
        trials.begin(tx, Trial("default", "2", "6", "shadow", "job", "drift:default", NOW, 0, None, {}, {}, {}))
    assert mark(aged) == names(1, 3, 4, 5, 7, 8, 9)


@pytest.mark.parametrize("running", [False, True])
def test_while_an_old_job_is_open_nothing_goes(aged: Database, running: bool) -> None:
    """A job goes on with the version that it began with, and may have begun with any that served then."""
    new = NewJob.make("predict", "default", "predict", NOW + 30 * DAY, 4)
    other = NewJob.make("predict", "other", "predict", NOW, 4)
    with aged.begin() as tx:
        jobs.add(tx, [new, other])
        if running:
            claims.claim(tx, [new.id], "w/1", "t", NOW + 30 * DAY, 30)
    assert mark(aged) == []
    with aged.begin() as tx:
        claims.claim(tx, [new.id], "w/1", "t", NOW + 30 * DAY, 30)
        ledger.finish(tx, "w/1", [ledger.Outcome(new.id, "succeeded", result="1")], LATE)
    assert mark(aged) == names(*range(1, 10))


def test_what_is_marked_is_to_be_deleted_until_it_is_said_to_be_gone(aged: Database) -> None:
    """And the row stays, with both marks."""
    mark(aged, most=2)
    with aged.begin() as tx:
        first, second = old_versions.leaving(tx, 9)
        assert (first.model, first.name, second.name) == ("default", "1", "2")
        assert [each.name for each in old_versions.leaving(tx, 1)] == ["1"]
        old_versions.gone(tx, first, LATE + 5)
        assert old_versions.leaving(tx, 9) == [second]
        row = versions.get(tx, "default", "1")
        assert row is not None
        assert (row.pruned_at, row.gone_at, row.artifact) == (LATE, LATE + 5, first.artifact)


def test_a_rollback_to_a_pruned_version_is_refused_with_what_can_be_done(aged: Database) -> None:
    """Version 10 serves again and the one before it is pruned: nothing changes, and the record to train it from is named."""
    mark(aged)
    with aged.begin() as tx:
        champions.serve(tx, "default", "10", 0, on_probation=False)
    with aged.begin() as tx, pytest.raises(NothingToRollBack) as refused:
        champions.roll_back(tx, "default", "ada", LATE)
    with aged.read() as tx:
        decision = decisions.listed(tx, "default", 12, None).entries[-1]
        assert decision.version == "9"
        assert models.get(tx, "default").champion == "10"  # type: ignore[union-attr]
    assert str(refused.value) == (
        "Version 9 of 'default' cannot serve again: its file was pruned after RETENTION_DAYS; "
        f"`continual reproduce {decision.id}` trains it again from its record"
    )


def test_an_alias_that_is_moved_to_a_pruned_version_is_not_followed(aged: Database) -> None:
    """As to a version that was not trained here."""
    mark(aged)
    with aged.begin() as tx:
        models.change(tx, "default", alias_pending=False)
        assert champions.adopt(tx, "default", "1", LATE) is None
        assert champions.adopt(tx, "default", "15", LATE) is not None


def test_a_file_of_a_version_that_is_gone_is_needed_by_nothing(aged: Database, tmp_path: Path) -> None:
    """One that came back, such as out of a backup, is an orphan; one that is only marked goes in its turn."""
    artifacts = Artifacts(tmp_path / "artifacts")
    mark(aged, most=2)
    with aged.begin() as tx:
        first, second = old_versions.leaving(tx, 9)
        for each in (first, second):
            artifacts.write(each.artifact, [b"x"])
        old_versions.gone(tx, first, LATE)
        assert orphans.find(tx, artifacts, BEFORE) == [first.artifact]
