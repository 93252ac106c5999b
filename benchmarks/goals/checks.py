"""CPU of one check of 10,000 new labelled rows of 20 features, with a short and a long history behind it.

`workers.check.work` itself, in this process: it records nothing until it is settled, so that the same rows can be checked again.
"""

from __future__ import annotations

import gc
import statistics
import time
from pathlib import Path

import msgspec

from benchmarks.chaos.servers import Postgres
from benchmarks.goals.goal import Goal
from benchmarks.house import generated, house, post, settle
from ml.generator import generate
from problems.declaration import parse_problem
from problems.rows import PackedRows
from storage import jobs, labels, predictions
from storage.ids import new_id
from storage.predictions import Logged
from workers import check
from workers.lease import Claim
from workers.room import Room

FEATURES, NEW, TIMES = 20, 10_000, 7
SHORT, LONG = 50_000, 1_000_000
MOST_MS, MOST_SHARE = 50.0, 2.0
MODEL = "checked"
PROBLEM = {
    "task": "binary", "label": "y", "metric": "accuracy", "threshold": 0.5,
    "estimator": "sklearn.linear_model.LogisticRegression", "features": {f"x{n}": "number" for n in range(1, FEATURES + 1)},
}  # fmt: skip


def goals(folder: Path, whole: bool, postgres: bool) -> list[Goal]:
    """The lines, on SQLite and if asked for on PostgreSQL; without `whole` the long history is a tenth as long."""
    long = LONG if whole else LONG // 10
    found = _goals(folder, long, "SQLite", "", "")
    if postgres:
        short, server = (Postgres(folder / name) for name in ("postgres-short", "postgres-long"))
        try:
            short.start()
            server.start()
            found += _goals(folder, long, "PostgreSQL", short.url, server.url)
        finally:
            short.remove()
            server.remove()
    return found


def _goals(folder: Path, long: int, ledger: str, short_url: str, long_url: str) -> list[Goal]:
    short_ms, _ = _measure(folder / f"short-{ledger}", SHORT, short_url)
    long_ms, labelled_ms = _measure(folder / f"long-{ledger}", long, long_url)
    what = f"check, {ledger}, CPU, {FEATURES} features × {NEW:,} new rows"
    wanted = f"≤ {MOST_MS:g} ms"
    return [
        Goal(f"{what} of a dataset, {long:,} rows of history", wanted, f"{long_ms:.0f} ms", long_ms <= MOST_MS),
        Goal(
            "the same, against that at 50k rows of history",
            f"≤ {MOST_SHARE:g} ×",
            f"{long_ms / short_ms:.2f} ×",
            long_ms <= MOST_SHARE * short_ms,
        ),
        Goal(f"{what} that are labelled one-row predictions", wanted, f"{labelled_ms:.0f} ms", labelled_ms <= MOST_MS),
    ]


def _measure(folder: Path, history: int, database_url: str) -> tuple[float, float]:
    """CPU ms of a check of a dataset, and of labelled predictions; of this process, not of a database server."""
    with house(folder, parse_problem(MODEL, PROBLEM), database_url=database_url) as room:
        generated(room, MODEL, history, FEATURES, 1)
        generated(room, MODEL, NEW, FEATURES, 2)
        of_dataset = _cpu_ms(room)
        post(room, "check", MODEL, b"{}")
        settle(room)
        _label(room)
        return of_dataset, _cpu_ms(room)


def _cpu_ms(room: Room) -> float:
    with room.db.read() as tx:
        job = jobs.get(tx, post(room, "check", MODEL, b"{}"))
    if job is None:
        raise RuntimeError("a job is not in the ledger")
    gc.collect()
    gc.freeze()  # as a worker does before its first job
    taken = []
    for _ in range(TIMES):
        began = time.process_time()
        done = check.work(room, job, Claim("bench", float("inf")))
        taken.append(1e3 * (time.process_time() - began))
        if done.result["labels_seen"] != NEW:  # type: ignore[index]
            raise RuntimeError(f"expected {NEW} new rows: {done.result}")
    settle(room)
    return statistics.median(taken[1:])


def _label(room: Room) -> None:
    """10,000 predictions of one row each in the log, and their labels."""
    rows, truth = generate(NEW, FEATURES, 0.05, "none", 0.0, 3)
    now = room.clock()
    logged = [Logged(new_id(now), MODEL, "1", 1, PackedRows(1, row.tobytes()).encode(), None, now) for row in rows]
    given = [((each.job_id, 0), msgspec.json.encode(int(label)).decode()) for each, label in zip(logged, truth, strict=True)]
    with room.db.begin() as tx:
        predictions.log(tx, logged)
        labels.store(tx, MODEL, given, lambda: now)
