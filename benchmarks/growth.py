"""`python -m benchmarks.growth`: a year of a busy team in one SQLite ledger: its size, and how long a check and pruning take.

One prediction and one check are made by the workers' own code; the year is copies of their rows, each with an id and a time of
its own, one prediction in ten with a label. Then everything is measured that has to stay quick whatever there is behind it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from benchmarks.goals.checks import MODEL, PROBLEM
from benchmarks.house import generated, house, post, settle
from problems.declaration import parse_problem
from problems.rows import PackedRows
from storage import claims, jobs, labels, ledger, predictions, retention
from storage.census import Census
from storage.ids import first_id
from storage.jobs import Job
from storage.ledger import Outcome
from storage.predictions import Logged
from storage.schema import checks, detectors, models
from storage.schema import jobs as jobs_table
from workers import check
from workers.lease import Claim
from workers.room import Room
from workers.run import Done, record
from workers.sweeper import PRUNED_AT_ONCE

YEAR_S = 365 * 86_400.0
LABELLED = 10  # one prediction in so many
CHECKED = 100  # predictions to a check: 10M and 100k a year
AT_ONCE = 20_000
NEW = 1_000  # labels that the measured check finds
OWNER = "bench"
Rows = Iterator[tuple[Any, ...]]


def main() -> int:
    """Print a line at each of the sizes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--predictions", default="100000,1000000,10000000", help="how many of a year, with commas; growing")
    parser.add_argument("--folder", type=Path, help="where the ledger is written (default: a temporary folder)")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="growth-"))
    print(
        "| predictions | labels | checks | ledger, GB | bytes a prediction | check of 1,000 new labels, ms of CPU | its end |",
        end="",
    )
    print(
        " overview of the queue, ms | newest 100 jobs, ms | newest dead job, ms | scrape: all jobs counted, ms (first) |",
        end="",
    )
    print(" pruning 200 jobs, ms (worst) |\n" + "|---" * 12 + "|")
    try:
        with house(folder, parse_problem(MODEL, {**PROBLEM, "features": {"x1": "number", "x2": "number"}})) as room:
            _year(room, [int(each) for each in asked.predictions.split(",")])
    finally:
        if not asked.folder:
            shutil.rmtree(folder)
    return 0


def _year(room: Room, sizes: list[int]) -> None:
    generated(room, MODEL, 2_000, 2, 1)
    _check(room)
    settle(room)
    _predict(room)
    job, checked = _template(room, "predict"), _template(room, "check")
    end, done = time.time() - 86_400.0, 0
    for size in sizes:
        # the later part of the year first: what is measured next, labels and ids, is newer than all of it
        _copy(room, job, checked, end - YEAR_S, YEAR_S / sizes[-1], done, size)
        done = size
        print(_measured(room, size, end), flush=True)


def _predict(room: Room) -> str:
    job = post(room, "predict", MODEL, PackedRows(1, bytes(16)).encode())
    settle(room)
    return job


def _check(room: Room) -> str:
    return post(room, "check", MODEL, b"{}")


def _template(room: Room, kind: str) -> str:
    with room.db.read() as tx:
        query = select(jobs_table.c.id).where(jobs_table.c.kind == kind, jobs_table.c.status == "succeeded")
        return str(tx.execute(query.order_by(jobs_table.c.id.desc())).scalars().first())


def _copy(room: Room, job: str, checked: str, start: float, step: float, first: int, last: int) -> None:
    """Copies number `first` to `last` of the two jobs and of what they left, `step` seconds apart."""
    with closing(sqlite3.connect(room.settings.data_dir / "ledger.db", isolation_level=None)) as db:
        db.execute("PRAGMA synchronous=OFF")  # nothing of this has to survive
        db.execute("PRAGMA cache_size=-400000")
        head = db.execute("SELECT head FROM models WHERE name = ?", (MODEL,)).fetchone()[0]
        copies = [
            _copies(db, "jobs", "id", job), _copies(db, "predictions", "job_id", job),
            _copies(db, "jobs", "id", checked), _copies(db, "checks", "job_id", checked),
        ]  # fmt: skip
        for part in range(first, last, AT_ONCE):
            numbers = range(part, min(part + AT_ONCE, last))
            db.execute("BEGIN")
            for n, copy in enumerate(copies):
                every = CHECKED if n >= 2 else 1
                copy(
                    (_id(start + number * step, number, n // 2), start + number * step)
                    for number in numbers
                    if number % every == 0
                )
            labelled = [number for number in numbers if number % LABELLED == 0]
            rows = ((_id(start + n * step, n, 0), 0, MODEL, head + at, "1", start + n * step) for at, n in enumerate(labelled))
            db.executemany('INSERT INTO labels (job_id, "row", model, position, label, labelled_at) VALUES (?,?,?,?,?,?)', rows)
            head += len(labelled)
            db.execute("UPDATE models SET head = ? WHERE name = ?", (head, MODEL))
            db.execute("COMMIT")
        db.execute("UPDATE detectors SET position = ? WHERE model = ?", (head, MODEL))  # all of it has been looked at
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _copies(db: sqlite3.Connection, table: str, key: str, of: str) -> Callable[[Rows], None]:
    """A function that inserts copies of a row, given (id, moment) pairs: the id stands wherever the row's own stood."""
    found = db.execute(f"SELECT * FROM {table} WHERE {key} = ?", (of,))
    names, row = [each[0] for each in found.description], found.fetchone()
    old = {row[names.index(name)] for name in ("id", "job_id") if name in names}
    columns = ", ".join('"' + name + '"' for name in names)
    statement = f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(names))})"

    def made(identifier: str, moment: float) -> Iterator[Any]:
        for name, value in zip(names, row, strict=True):
            if name.endswith("_at") and value is not None:
                yield moment
            elif name in ("dedupe_key", "lane"):
                yield None
            elif isinstance(value, str) and any(each in value for each in old):
                yield value.replace(of, identifier) if of in value else identifier
            else:
                yield value

    def insert(pairs: Rows) -> None:
        db.executemany(statement, (tuple(made(*pair)) for pair in pairs))

    return insert


def _id(moment: float, number: int, what: int) -> str:
    """An id of its moment; its end tells it from others of the same millisecond."""
    return f"{first_id(moment)[:14]}700{what}-8000-{number:012x}"


def _measured(room: Room, size: int, end: float) -> str:
    bytes_now = os.path.getsize(room.settings.data_dir / "ledger.db")
    with room.db.read() as tx:
        checked = len(tx.execute(select(checks.c.id)).all())
    _label(room)
    job = _check(room)
    with room.db.read() as tx:
        found = jobs.get(tx, job)
    if found is None:
        raise RuntimeError("a job is not in the ledger")
    claim = Claim(OWNER, float("inf"))
    check_ms = _ms(lambda: check.work(room, found, claim))
    done = check.work(room, found, claim)
    with room.db.begin() as tx:
        claims.claim(tx, [job], OWNER, "bench", room.clock(), 3_600.0)
    end_ms = _ms(lambda: _end(room, found, done))
    with room.db.begin() as tx:  # seen: the next size begins with its own new labels
        head = tx.execute(select(models.c.head).where(models.c.name == MODEL)).scalar_one()
        tx.execute(update(detectors).where(detectors.c.model == MODEL).values(position=head))
        tx.execute(jobs_table.delete().where(jobs_table.c.id == job))
    census, now = Census(), time.time()
    first_ms = _once(lambda: _read(room, lambda tx: census.take(tx, now)))
    reads: list[Callable[[Any], object]] = [
        ledger.backlog,
        lambda tx: jobs.listed(tx, None, None, None, 100, None),
        lambda tx: jobs.listed(tx, None, "dead", None, 1, None),
        lambda tx: census.take(tx, now),
    ]
    queue_ms, list_ms, dead_ms, census_ms = (_ms(lambda read=read: _read(room, read)) for read in reads)  # type: ignore[misc]
    pruned = [_once(lambda: _prune(room, end - YEAR_S + 90 * 86_400.0)) for _ in range(50)]
    cells = [
        f"{size:,}", f"{size // LABELLED:,}", f"{checked:,}", f"{bytes_now / 1e9:.2f}", f"{bytes_now / size:,.0f}",
        f"{check_ms:.0f}", f"{end_ms:.1f}",
        f"{queue_ms:.1f}", f"{list_ms:.1f}", f"{dead_ms:.1f}", f"{census_ms:.1f} ({first_ms:.0f})",
        f"{statistics.median(pruned):.0f} ({max(pruned):.0f})",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _label(room: Room) -> None:
    now = room.clock()
    row = PackedRows(1, bytes(16)).encode()
    logged = [Logged(_id(now, n, 2), MODEL, "1", 1, row, None, now) for n in range(NEW)]
    with room.db.begin() as tx:
        predictions.log(tx, logged)
        labels.store(tx, MODEL, [((each.job_id, 0), str(n % 2)) for n, each in enumerate(logged)], lambda: now)


def _end(room: Room, job: Job, done: Done) -> None:
    """What a check does while it keeps every other writer waiting; taken back, to be done again."""
    with room.db.engine.connect() as tx:
        tx.begin()
        if not record(tx, OWNER, job, Outcome(job.id, "succeeded", result="{}"), done.settle, room.clock())[-1]:
            raise RuntimeError("the check is not claimed")
        tx.rollback()


def _read(room: Room, what: Callable[[Any], object]) -> None:
    with room.db.read() as tx:
        what(tx)


def _prune(room: Room, before: float) -> None:
    room.db.run(lambda tx: retention.prune(tx, before, PRUNED_AT_ONCE), patience_s=0)


def _ms(work: Callable[[], object]) -> float:
    """Median of five, ms of CPU: a busy machine says little by its wall clock."""
    return statistics.median(_once(work) for _ in range(5))


def _once(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return 1e3 * (time.process_time() - began)


if __name__ == "__main__":
    main()
