"""Fault o: the clock is set by ten minutes while jobs run. Played on a real ledger with injected clocks."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.chaos.judge import Row
from jobs.kinds import PREDICT, QUARANTINE
from storage import claims, jobs, ledger
from storage.database import Database
from storage.jobs import NewJob
from storage.ledger import Outcome
from storage.migrate import migrate
from workers.vigil import Vigil

LEASE_S = 30.0
NOW = 1_795_000_000.0
JOBS = 800


def clock_steps(minutes: float) -> Row:
    """800 running jobs, half of their workers alive; the clock is set, and two minutes later all must have ended, each once."""
    row = Row("o", "ours")
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'ledger.db'}")
        migrate(database)
        with database.begin() as tx:
            ids = [job.id for job in jobs.add(tx, [NewJob.make("predict", "m", "predict", NOW, 4) for _ in range(JOBS)])]
            claims.claim(tx, ids[::2], "alive", "t", NOW, LEASE_S)
            claims.claim(tx, ids[1::2], "dead", "t", NOW, LEASE_S)
        _two_minutes(database, row, ids, minutes * 60)
        with database.read() as tx:
            found = jobs.get_many(tx, ids).values()
        database.close()
    row.accepted, row.lost = len(found), sum(job.status != "succeeded" for job in found)
    row.executed_twice = sum(job.attempt > 1 for job in found)
    row.recorded_twice = sum(job.attempt > 1 for job in found if job.id in set(ids[::2]))
    row.notes.append(f"the clock is set by {minutes:+.0f} min; an executed job of a living worker would count as recorded twice")
    return row


def _two_minutes(database: Database, row: Row, ids: list[str], step: float) -> None:
    vigil = Vigil(LEASE_S, steady=lambda: second)
    for second in range(120):
        now = NOW + second + (step if second > 10 else 0.0)
        with database.begin() as tx:
            if second % 5 == 0 and second < 60:
                ledger.heartbeat(tx, ["alive"], now, LEASE_S)
            if second == 60:
                ledger.finish(tx, "alive", [Outcome(each, "succeeded") for each in ids[::2]], now)
            ledger.expire(tx, vigil.silent(ledger.leases(tx)), now)
            again = [bell.job_id for queue in (PREDICT, QUARANTINE) for bell in ledger.due(tx, now, JOBS, queue)]
            taken = [job.id for job in claims.claim(tx, again, f"fresh{second}", "t", now, LEASE_S)]
            ledger.finish(tx, f"fresh{second}", [Outcome(each, "succeeded") for each in taken], now)
        if taken:
            row.done_s = float(second)
