"""All jobs are counted, whatever ends, waits or is pruned meanwhile, though the old ones are read once."""

from __future__ import annotations

import random

from sqlalchemy import Connection, delete, func, select, union_all

from storage import claims, jobs, ledger, retention, schema
from storage.census import KEPT_EVERY_S, LATE_S, MOST_S, Census, Count
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
        claims.claim(tx, [job_id], f"w{job_id}", "t", at, 30)
        ledger.finish(tx, f"w{job_id}", [Outcome(job_id, status, result="1")], at)


def counted_anew(tx: Connection) -> list[Count]:
    group = (schema.jobs.c.kind, schema.jobs.c.queue, schema.jobs.c.status)
    kept = select(*group, func.count().label("count"), func.sum(schema.jobs.c.failures).label("retries")).group_by(*group)
    both = union_all(kept, select(schema.pruned)).subquery()
    key = (both.c.kind, both.c.queue, both.c.status)
    totals = select(*key, func.sum(both.c.count), func.sum(both.c.retries)).group_by(*key).order_by(*key)
    return [Count(*row[:3], int(row[3]), int(row[4])) for row in tx.execute(totals)]


def test_what_is_counted_once_is_what_counting_anew_finds(db: Database) -> None:
    """While jobs come, end late or never, and are pruned, the clock is set back and forth, and the API restarts."""
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
            assert found == counted_anew(tx)
            if census.is_to_be_kept():
                census.keep(tx)
        census = chance.choice([census, census, Census()])
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


def test_who_starts_later_counts_from_where_another_has_come_to(db: Database) -> None:
    """Old jobs that are taken out behind its back are still counted: they were not read."""
    census = Census()
    end(db, post(db, NOW), NOW, "succeeded")
    with db.begin() as tx:
        first = census.take(tx, NOW + 2 * LATE_S)
        census.keep(tx)
        tx.execute(delete(schema.jobs))
        assert Census().take(tx, NOW + 3 * LATE_S) == first
        assert Census().take(tx, NOW + 2 * MOST_S) == []


def test_the_ledger_is_told_now_and_then_of_what_is_counted(db: Database) -> None:
    census = Census()
    assert not census.is_to_be_kept()
    with db.begin() as tx:
        census.take(tx, NOW)
        assert census.is_to_be_kept()
        census.keep(tx)
        census.take(tx, NOW + KEPT_EVERY_S / 2)
        assert not census.is_to_be_kept()
        census.take(tx, NOW + 2 * KEPT_EVERY_S)
        assert census.is_to_be_kept()
        census.keep(tx)
        census.take(tx, NOW - MOST_S)
        assert census.is_to_be_kept()
