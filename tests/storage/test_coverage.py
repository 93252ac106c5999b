"""Labelled shares are counted as they come, from what is new, by steps in an index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from storage import checks, claims, coverage, datasets, dialects, jobs, labels, ledger, predictions
from storage.database import Database
from storage.datasets import NewDataset
from storage.ids import first_id, new_id
from storage.jobs import NewJob
from storage.predictions import Logged
from tests.storage.conftest import NOW

DAY = coverage.DAY_S
TODAY = int(NOW // DAY)


def predicted(db: Database, at: float, rows: int) -> str:
    job = new_id(at)
    with db.begin() as tx:
        predictions.log(tx, [Logged(job, "default", "1", rows, b"", None, at)])
    return job


def counted(db: Database, now: float) -> dict[int, tuple[int, int]]:
    """(predicted, labelled) of the days that have either, by days before today."""
    with db.begin() as tx:
        days = coverage.count(tx, "default", now, first_id(now))
        coverage.keep(tx, "default", days)
    return {int(now // DAY) - day.day: (day.predicted, day.labelled) for day in days if day.predicted or day.labelled}


def test_each_prediction_and_each_label_counts_once_on_the_day_of_the_prediction(db: Database) -> None:
    """However often one looks; a corrected label is none more; what is older than a week is out of it."""
    old, job = predicted(db, NOW - 2 * DAY, 10), predicted(db, NOW - 60, 4)
    assert counted(db, NOW) == {2: (10, 0), 0: (4, 0)}
    with db.begin() as tx:
        labels.store(tx, "default", [((job, 0), "1"), ((job, 1), "0"), ((old, 3), "1")], lambda: NOW)
        labels.store(tx, "default", [((job, 0), "0")], lambda: NOW + 5)
    predicted(db, NOW + 10, 3)
    assert counted(db, NOW + 20) == counted(db, NOW + 20) == {2: (10, 1), 0: (7, 2)}
    assert counted(db, NOW + 6 * DAY) == {6: (7, 2)}


def test_a_prediction_under_way_is_counted_when_it_is_logged(db: Database) -> None:
    """The count stops before the oldest job that has not ended, whose place in the log is still empty."""
    open_ = NewJob.make("predict", "default", "predict", NOW, 4)
    with db.begin() as tx:
        jobs.add(tx, [open_])
        assert ledger.oldest_open(tx, "predict", ["predict", "bulk"]) == open_.id
        claims.claim(tx, [open_.id], "w", "t", NOW, 30)
        assert ledger.oldest_open(tx, "predict", ["predict"]) == open_.id
        ledger.finish(tx, "w", [ledger.Outcome(open_.id, "succeeded")], NOW)
        assert ledger.oldest_open(tx, "predict", ["predict"]) is None


def test_delays_are_of_the_newest_labels(db: Database) -> None:
    job = predicted(db, NOW, 2)
    with db.begin() as tx:
        labels.store(tx, "default", [((job, 0), "1")], lambda: NOW + 60)
        labels.store(tx, "default", [((job, 1), "1")], lambda: NOW + 600)
        assert coverage.delays(tx, "default") == pytest.approx([600, 60])


def _overheard(cursor_of: Any, asked: list[tuple[str, Any]]) -> Any:
    """The driver's own cursors, each statement noted with its parameters."""

    class Noting:
        def __init__(self, cursor: Any) -> None:
            self._cursor = cursor

        def execute(self, sql: str, given: Any, **how: Any) -> Any:
            asked.append((sql, tuple(given)))
            return self._cursor.execute(sql, given, **how)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._cursor, name)

    @contextmanager
    def noting(tx: Connection) -> Iterator[Any]:
        with cursor_of(tx) as cursor:
            yield Noting(cursor)

    return noting


def test_what_a_check_asks_of_the_ledger_are_steps_in_an_index(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan of every statement on tables that grow, on both engines: none of them reads a table from end to end."""
    asked: list[tuple[str, Any]] = []
    job = predicted(db, NOW, 5)
    new = NewDataset(job, job, "default", 10, 0, "upload", {}, "datasets/x", "0" * 64)
    with db.begin() as tx:
        datasets.add(tx, new, NOW)
        labels.store(tx, "default", [((job, n), "1") for n in range(5)], lambda: NOW)
        event.listen(tx, "before_cursor_execute", lambda *args: asked.append((args[2], args[3])))
        monkeypatch.setattr(dialects, "_cursor", _overheard(dialects._cursor, asked))
        coverage.keep(tx, "default", coverage.count(tx, "default", NOW, first_id(NOW)))
        coverage.delays(tx, "default")
        labels.between(tx, "default", 3, 5)
        labels.store(tx, "default", [((job, 0), "0")], lambda: NOW)
        datasets.between(tx, "default", 3, 5)
        predictions.recent(tx, "default", 100)
        predictions.sizes(tx, [job])
        checks.head_before(tx, "default", NOW)
        checks.last(tx, "default")
        ledger.oldest_open(tx, "predict", ["predict"])
        statements = [each for each in asked if not each[0].startswith(("INSERT", "ALTER", "SAVE"))]
        if not db.sqlite:
            tx.execute(text("SET LOCAL enable_seqscan = off"))  # these tables are too small for anything but a scan
        explain = "EXPLAIN QUERY PLAN " if db.sqlite else "EXPLAIN "
        plans = {sql: [str(tuple(row)) for row in tx.exec_driver_sql(explain + sql, given)] for sql, given in statements}
    assert len(plans) >= 10
    for sql, plan in plans.items():
        scans = [
            step for step in plan if ("SCAN" in step and "json_each" not in step and "CONSTANT" not in step) or "Seq Scan" in step
        ]
        assert not scans, (sql, plan)


def test_a_dataset_that_begins_before_and_reaches_into_the_span_is_found(db: Database) -> None:
    for n in range(3):
        job = new_id(NOW + n)
        with db.begin() as tx:
            datasets.add(tx, NewDataset(job, job, "default", 10, 0, "upload", {}, "datasets/x", "0" * 64), NOW)
    with db.read() as tx:
        spans = [(0, 1), (9, 10), (9, 11), (15, 16), (5, 25), (30, 40)]
        found = [[each.position for each in datasets.between(tx, "default", *span)] for span in spans]
    assert found == [[0], [0], [0, 10], [10], [0, 10, 20], []]
