"""All jobs are counted, whatever ends, waits or is pruned meanwhile, though the old ones are read once."""

from __future__ import annotations

import random

from sqlalchemy import delete

from storage import jobs, ledger, retention, schema
from storage.census import LATE_S, MOST_S, Census
from storage.database import Database
from storage.jobs import NewJob
from storage.ledger import Outcome
from tests.storage.conftest import NOW


def post(db: Database, at: float) -> str:
    new = NewJob.make("predict", "default", "predict", at, 4)
    with db.begin() as tx:
        jobs.add(tx, [new])
    return new.id


def end(db: Database, job_id: str, at: float, status: jobs.Status) -> None:
    with db.begin() as tx:
        ledger.claim(tx, [job_id], f"w{job_id}", "t", at, 30)
        ledger.finish(tx, f"w{job_id}", [Outcome(job_id, status, result="1")], at)


def test_what_is_counted_once_is_what_counting_anew_finds(db: Database) -> None:
    """For an hour in which jobs come, end late or never, and are pruned, and the clock is set back and forth."""
    chance, census, now, waiting = random.Random(1), Census(), NOW, list[str]()
    for _ in range(120):
        now += chance.choice([1.0, 10.0, LATE_S, MOST_S / 2, -30.0, -2 * MOST_S])
        waiting += [post(db, now - chance.uniform(0, LATE_S / 2)) for _ in range(chance.randrange(4))]
        for job_id in chance.sample(waiting, min(len(waiting), chance.randrange(5))):
            waiting.remove(job_id)
            end(db, job_id, now, chance.choice(["succeeded", "failed"]))
        with db.begin() as tx:
            retention.prune(tx, now - 2 * MOST_S, 3)
            found = census.take(tx, now)
            assert found == Census().take(tx, now)
    assert sum(each.count for each in found) > 100


def test_old_jobs_are_read_once(db: Database) -> None:
    """What is taken out of the ledger behind its back, which only pruning may do, is still counted."""
    census = Census()
    end(db, post(db, NOW), NOW, "succeeded")
    with db.begin() as tx:
        first = census.take(tx, NOW + 2 * LATE_S)
        tx.execute(delete(schema.jobs))
        assert census.take(tx, NOW + 3 * LATE_S) == first
        assert Census().take(tx, NOW + 3 * LATE_S) == []
