"""Bulk: many rows in one request, every row back, against a bare server that drops what it is sent and sends a file.

The bare server has to carry the same bytes, up in the same format and down in the same format, and predicts nothing: what
it takes, plus one `predict_proba` of all rows, is the least that anybody could take.
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
from numpy.typing import NDArray

from benchmarks import processes
from benchmarks.goals.bare import Bare
from benchmarks.goals.carry import Wire, poll, transfer
from benchmarks.goals.goal import Goal
from benchmarks.goals.tables import FORMATS, body_of, probabilities_in
from benchmarks.peers.ours import Ours, train_first, upload
from benchmarks.peers.peer import Peer
from ml.generator import generate

FEATURES, MODEL = 20, "wide"
MANY, MOST = 100_000, 1_000_000
LEAST = {"arrow": 1.6, "parquet": 2.0, "csv": 3.0}  # × bare, at a million rows
FASTER = {"arrow": 30.0, "parquet": 30.0, "csv": 15.0, "json": 10.0}  # × naive Celery, at a hundred thousand
RESIDENT_MB = 600.0


@dataclass(frozen=True, slots=True)
class Job:
    """One bulk prediction: median seconds of ours, of the bare server, and of `predict_proba` alone."""

    format: str
    rows: int
    ours_s: float
    bare_s: float
    predict_s: float

    @property
    def ratio(self) -> float:
        """Ours by the least that is possible."""
        return self.ours_s / (self.bare_s + self.predict_s)


def measure(ours: Ours, naive: Peer | None, folder: Path, whole: bool, times: int) -> tuple[list[Goal], str]:
    """The lines, and the table of all jobs.

    Args:
        naive: a started naive Celery that has the model `wide` too.
        whole: also a million rows.
    """
    rows = np.random.default_rng(11).standard_normal((MOST if whole else MANY, FEATURES))
    faults: list[Goal] = []
    with Bare(folder) as bare:
        jobs = _jobs(ours, bare, rows[:MANY], times, faults)
        with _watching(ours) as resident:
            jobs += _jobs(ours, bare, rows, times, faults) if whole else []
    celery_s = None if naive is None else _naive(naive, rows[:MANY], ours, times)
    found = [_against_bare(job) for job in jobs if job.rows == MOST and job.format in LEAST]
    found += [_against_naive(job, celery_s) for job in jobs if job.rows == MANY and celery_s is not None]
    if whole:
        most = max(resident.values())
        measured = f"{most:.0f} MB ({max(resident, key=lambda role: resident[role])})"
        found.append(Goal("memory of a worker during 1M-row jobs", f"≤ {RESIDENT_MB:g} MB RSS", measured, most <= RESIDENT_MB))
    return found + faults, _markdown(jobs, celery_s)


def train(ours: Ours, models: Path) -> None:
    """Give the stack its model of twenty features, and the others its estimator."""
    rows, labels = generate(2_000, FEATURES, 0.05, "none", 0.0, 7)
    header = ",".join([*(f"x{n}" for n in range(1, FEATURES + 1)), "y"])
    lines = [",".join(map(repr, [*row, label])) for row, label in zip(rows.tolist(), labels.tolist(), strict=True)]
    with ours.stack.client(timeout_s=120) as client:
        upload(client, MODEL, header, lines)
        train_first(client, MODEL)
    joblib.dump(ours.estimators(MODEL)[-1], models / f"{MODEL}.joblib")


def _jobs(ours: Ours, bare: Bare, rows: NDArray[np.float64], times: int, faults: list[Goal]) -> list[Job]:
    """A job in each format; one that fails is a goal that was not reached, and the others are measured all the same."""
    jobs = []
    for format_ in FORMATS:
        try:
            jobs.append(_job(ours, bare, rows, format_, times))
        except (RuntimeError, OSError) as fault:
            faults.append(Goal(f"bulk {len(rows):,} × {FEATURES}, {format_}", "an answer", str(fault)[:200], False))
    return jobs


def _job(ours: Ours, bare: Bare, rows: NDArray[np.float64], format_: str, times: int) -> Job:
    estimator = ours.estimators(MODEL)[-1]
    body = body_of(format_, rows, MODEL)
    taken: list[tuple[float, float, float]] = []
    answer = b""
    for _ in range(times):
        began = time.perf_counter()
        expected = estimator.predict_proba(rows)
        predicted = time.perf_counter() - began
        seconds, answer = transfer(ours.wire(), format_, MODEL, body)
        bare.keep(answer)
        taken.append((seconds, transfer(bare.wire(), format_, MODEL, body)[0], predicted))
    wrong = np.abs(probabilities_in(format_, answer) - expected[:, 1]).max()
    if wrong > 1e-9:
        raise RuntimeError(f"{format_}: an answer is {wrong} off")
    job = Job(format_, len(rows), *(statistics.median(column) for column in zip(*taken, strict=True)))
    print(f"bulk {format_} {len(rows):,}: {job.ours_s:.3f} s, bare {job.bare_s:.3f} s", file=sys.stderr, flush=True)
    return job


def _naive(naive: Peer, rows: NDArray[np.float64], ours: Ours, times: int) -> float:
    """Seconds that naive Celery takes for these rows as JSON: POST, poll every 20 ms, every answer back."""
    body = json.dumps({"instances": rows.tolist()}).encode()
    expected = ours.estimators(MODEL)[-1].predict_proba(rows)[:, 1]
    taken = []
    for _ in range(times):
        seconds, answer = poll(Wire(naive.port, ""), f"/predict/{MODEL}", body)
        if np.abs(np.array(answer)[:, 1] - expected).max() > 1e-9:
            raise RuntimeError("naive Celery: a wrong answer")
        taken.append(seconds)
    return statistics.median(taken)


@contextmanager
def _watching(ours: Ours) -> Iterator[dict[str, float]]:
    """The most memory that each role of worker had at any moment of the block, MB; its children one by one."""
    most: dict[str, float] = {"none": 0.0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            for seen in ours.stack.processes("predict", "general", "worker"):
                most[seen.role] = max(most.get(seen.role, 0.0), processes.resident_mb(seen.pid))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def _against_bare(job: Job) -> Goal:
    what = f"bulk 1M × {FEATURES}, POST to every row back, {job.format}"
    wanted = f"≤ {LEAST[job.format]:g} × upload and download to a bare server plus `predict_proba`"
    measured = f"{job.ratio:.2f} × ({job.ours_s:.2f} s)"
    return Goal(what, wanted, measured, job.ratio <= LEAST[job.format])


def _against_naive(job: Job, celery_s: float) -> Goal:
    ratio, least = celery_s / job.ours_s, FASTER[job.format]
    what = f"bulk 100k × {FEATURES} against naive Celery with JSON, {job.format}"
    return Goal(what, f"≥ {least:g} ×", f"{ratio:.1f} × ({1e3 * job.ours_s:.0f} ms)", ratio >= least)


def _markdown(jobs: list[Job], celery_s: float | None) -> str:
    rows = [
        f"| {job.format} | {job.rows:,} | {job.ours_s:.3f} | {job.bare_s:.3f} | {job.predict_s:.3f} | {job.ratio:.2f} |"
        for job in jobs
    ]
    if celery_s is not None:
        rows.append(f"| JSON through naive Celery | {MANY:,} | {celery_s:.3f} | – | – | – |")
    head = "| format | rows × 20 | POST to every row back, s | bare upload + download, s | `predict_proba`, s | ratio |"
    return "\n".join([head, "|---" * 6 + "|", *rows])
