"""What the loop asks of the ledger costs the same whatever has been: counted in steps of SQLite's own machine, not in seconds."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ml.generator import generate
from problems.rows import PackedRows
from storage import claims, jobs, labels, ledger, predictions
from storage.jobs import NewJob
from storage.ledger import Outcome
from storage.predictions import Logged
from tests.workers.conftest import House
from workers.sweeper import Sweeper

ENDED, MOST, EVERY = 4_000, 1_000, 20  # jobs of the past; steps that one statement may take; steps between two looks


class Steps:
    """How many steps each execution of a statement took, the worst of each."""

    def __init__(self) -> None:
        self.worst: Counter[str] = Counter()
        self._now: Counter[sqlite3.Connection] = Counter()
        self._said: dict[sqlite3.Connection, str] = {}

    def begins(self, connection: sqlite3.Connection, sql: str) -> None:
        self._said[connection], self._now[connection] = sql, 0

    def tick(self, connection: sqlite3.Connection) -> None:
        self._now[connection] += EVERY
        sql = self._said.get(connection, "")
        self.worst[sql] = max(self.worst[sql], self._now[connection])


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Counts the steps of every connection to SQLite that is opened from now on."""
    counted, connect = Steps(), sqlite3.dbapi2.connect

    class Cursor(sqlite3.Cursor):
        def execute(self, sql: str, *given: Any) -> Any:
            counted.begins(self.connection, sql)
            return super().execute(sql, *given)

    class Connection(sqlite3.Connection):
        def cursor(self, *_: Any) -> Any:
            return super().cursor(Cursor)

    def counting(*where: Any, **how: Any) -> sqlite3.Connection:
        connection = connect(*where, **how, factory=Connection)
        connection.set_progress_handler(lambda: counted.tick(connection), EVERY)
        return connection

    monkeypatch.setattr(sqlite3.dbapi2, "connect", counting)
    return counted


def past(house: House) -> None:
    """Predictions that have ended and are labelled, a check behind them."""
    now = house.clock() - 3_600
    rows, truth = generate(ENDED, 2, 0.05, "none", 0.0, 1)
    new = [NewJob.make("predict", "default", "predict", now, 3) for _ in range(ENDED)]
    with house.db.begin() as tx:
        jobs.add(tx, new)
        claims.claim(tx, [job.id for job in new], "w", "t", now, 60)
        ledger.finish(tx, "w", [Outcome(job.id, "succeeded", "{}") for job in new], now)
        asked = [PackedRows(1, row.tobytes()).encode() for row in rows]
        predictions.log(tx, [Logged(job.id, "default", "1", 1, row, None, now) for job, row in zip(new, asked, strict=True)])
        labels.store(tx, "default", [((job.id, 0), str(int(label))) for job, label in zip(new, truth, strict=True)], lambda: now)
    house.tick()


def test_no_statement_of_the_loop_walks_through_the_jobs_that_have_ended(steps: Steps, tmp_path: Path) -> None:
    """A day of a model: predicted, labelled, checked, alarmed, trained, promoted, told, swept, with 4,000 jobs behind it."""
    house = House(tmp_path)
    house.declare()
    house.tick()
    past(house)
    steps.worst.clear()
    sweeper = Sweeper(house.room)
    for seed, flipped in ((2, False), (3, True), (4, True)):
        inputs, truth = generate(300, 2, 0.05, "none", 0.0, seed)
        house.label(house.predict(inputs), truth ^ flipped)
        house.tick()
        house.room.db.run(sweeper._settle)
        sweeper.prune()
    walked = {sql: count for sql, count in steps.worst.items() if " jobs " in sql and count > MOST}
    assert not walked
    assert {"train", "promote"} <= set(house.decisions()) and len(house.decisions()) >= 4
    house.room.close()
