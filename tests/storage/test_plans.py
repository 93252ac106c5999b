"""How PostgreSQL finds the jobs of a group: by their ids, whatever it knew of the table when it made its plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from sqlalchemy import Connection

from storage import claims, jobs, ledger
from storage.claims import Served
from storage.database import Database
from storage.jobs import NewJob
from storage.ledger import Outcome
from tests.storage.conftest import NOW

PREPARED_AFTER = 5  # executions: then the driver prepares a statement


def known_to_planner(db: Database, rows: int) -> None:
    """So many jobs have ended, and statistics say so."""
    new = [NewJob.make("predict", "default", "predict", NOW, 4, payload=b"x") for _ in range(rows)]
    with db.begin() as tx:
        jobs.add(tx, new)
        claims.claim(tx, [job.id for job in new], "w/0", "t", NOW, 30)
        ledger.finish(tx, "w/0", [Outcome(job.id, "succeeded", result="1") for job in new], NOW)
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as tx:
        tx.exec_driver_sql("ANALYZE jobs")


STATEMENTS: dict[str, Callable[[Connection, Sequence[str]], object]] = {
    "waiting": lambda tx, ids: claims.waiting(tx, ids, "predict", 10),
    "take": lambda tx, ids: claims.take(tx, ids, "predict", 10, [Served("default", "1", NOW, None)], "w/1", "t", NOW, 30),
    "claim": lambda tx, ids: claims.claim(tx, ids, "w/1", "t", NOW, 30, in_lanes=False),
    "finish": lambda tx, ids: ledger.finish(tx, "w/1", [Outcome(each, "succeeded") for each in ids], NOW),
    "get_many": jobs.get_many,
}


@pytest.mark.parametrize("rows", [0, 5, 60, 5_000])
@pytest.mark.parametrize("name", STATEMENTS)
def test_a_group_is_looked_up_by_its_ids(db: Database, name: str, rows: int) -> None:
    """A plan that is made while there are few jobs is kept to until the next ANALYZE, a minute of load away: with five it read
    the whole index of ids for each group, or all that had been queued since the last VACUUM.
    """
    if db.sqlite:
        pytest.skip("SQLite has no statistics")
    if rows:
        known_to_planner(db, rows)
    with db.begin() as tx:
        steps = planned(tx, lambda: STATEMENTS[name](tx, ["a", "b", "c"]))
    found = [(step, below) for step, below in pairwise([*steps, ""]) if "Scan using" in step or "Scan on pk_jobs" in step]
    scans = [(step, below) for step, below in found if "jobs" in step]
    assert scans
    for step, below in scans:
        if "ix_jobs_line" not in step:  # of companions
            assert "pk_jobs" in step and "Index Cond: ((id)" in below, steps


def planned(tx: Connection, run: Callable[[], object]) -> list[str]:
    """The steps of the plan that PostgreSQL keeps to for the statement that `run` runs."""
    for _ in range(PREPARED_AFTER + 1):
        run()
    tx.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
    newest = "SELECT name, cardinality(parameter_types) FROM pg_prepared_statements ORDER BY prepare_time DESC LIMIT 1"
    name, parameters = tx.exec_driver_sql(newest).one()
    return [row[0] for row in tx.exec_driver_sql(f'EXPLAIN EXECUTE "{name}" ({", ".join(["NULL"] * parameters)})')]
