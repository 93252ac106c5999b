"""The claim of a group whose model is at hand: one statement of PostgreSQL's takes what it is sure of; SQLite leaves all."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from storage import champions, claims, jobs, ledger, models
from storage.claims import Served
from storage.database import Database
from storage.trials import Trial
from tests.storage.conftest import NOW
from tests.storage.test_ledger import LEASE, accept

MOST = 10
KNOWN = Served("default", "1", NOW, None)


@dataclass(frozen=True, slots=True)
class Took:
    """What was claimed and what waits, by id; `claims`: whether this ledger claims so at all."""

    claimed: list[str]
    waits: list[str]
    claims: bool

    def is_all(self, ids: Sequence[str], left: Sequence[str] = ()) -> bool:
        """Whether these were claimed and those are left; where nothing is claimed so, both are left."""
        expected = (sorted(ids), sorted(left)) if self.claims else ([], sorted([*ids, *left]))
        return (self.claimed, self.waits) == expected


@pytest.fixture(autouse=True)
def champion(db: Database) -> None:
    """`default` is served by version 1."""
    with db.begin() as tx:
        models.change(tx, "default", champion="1")


def take(db: Database, ids: Sequence[str], known: Served = KNOWN, most: int = MOST, owner: str = "w/1") -> Took:
    with db.begin() as tx:
        claimed, waits = claims.take(tx, ids, "predict", most, [known], owner, "task", NOW, LEASE)
    assert all((job.status, job.attempt, job.owner, job.task_id) == ("running", 1, owner, "task") for job in claimed)
    return Took([job.id for job in claimed], [job.id for job in waits], not db.sqlite)


def test_what_is_named_is_taken_and_the_oldest_others_with_it(db: Database) -> None:
    """Three are named, two of the others come along, and they are leased from now on."""
    ids = accept(db, 6)
    took = take(db, ids[3:], most=2)
    assert took.is_all([*ids[:2], *ids[3:]])
    with db.read() as tx:
        assert {lease.until for lease in ledger.leases(tx)} == ({NOW + LEASE} if took.claims else set())


@pytest.mark.parametrize(
    "known",
    [
        Served("default", "2", NOW, None),
        Served("default", "1", NOW - 1, None),
        Served("default", "1", NOW, "2"),
        Served("other", "1", NOW, None),
    ],
    ids=["another champion", "declared anew", "a canary that is over", "another model"],
)
def test_nothing_is_taken_for_a_model_that_is_served_otherwise_than_is_known(db: Database, known: Served) -> None:
    ids = accept(db, 3)
    assert take(db, ids, known).is_all([], ids)


def test_a_canary_that_has_begun_is_seen_in_the_same_moment(db: Database) -> None:
    ids = accept(db, 2)
    tried = Trial("default", "2", "1", "canary", ids[0], "drift:default", NOW, 7, None, {}, {}, {})
    with db.begin() as tx:
        champions.try_out(tx, tried, "It won.", {"by": "gate"}, NOW)
    assert take(db, ids).is_all([], ids)
    assert take(db, ids, KNOWN._replace(canary="2")).is_all(ids)


def test_who_may_be_dangerous_travels_alone(db: Database) -> None:
    others = accept(db, 2)
    suspect = accept(db, 1, queue="quarantine")
    assert take(db, suspect).is_all(suspect)
    assert take(db, others).is_all(others)


def test_a_file_a_lane_and_what_waits_for_a_champion_are_left(db: Database) -> None:
    """A file waits to be opened, a lane for its turn; whoever waits for a champion is taken where it is named, not along."""
    file, lane, early = accept(db, artifact="bodies/x/rows.bin"), accept(db, lane="train:default"), accept(db)
    with db.begin() as tx:
        ledger.wait_for_champion(tx, early, "task", NOW, 60)
    plain = accept(db, 1)
    assert take(db, [*file, *lane, *plain]).is_all(plain, [*file, *lane])
    assert take(db, early, most=0).is_all(early)


def test_what_has_ended_runs_or_is_not_there_is_not_taken_and_does_not_wait(db: Database) -> None:
    cancelled, running = accept(db), accept(db)
    with db.begin() as tx:
        jobs.cancel(tx, cancelled[0], NOW)
        claims.claim(tx, running, "w/0", "task", NOW, LEASE)
    assert take(db, [*cancelled, *running, "01900000-0000-7000-8000-000000000000"]).is_all([])


def test_two_who_take_at_once_share_what_there_is(db: Database) -> None:
    ids = accept(db, 40)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda n: take(db, ids, owner=f"w/{n}"), range(2))
    assert sorted([*first.claimed, *second.claimed]) == (sorted(ids) if first.claims else [])
