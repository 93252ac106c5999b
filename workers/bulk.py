"""Bulk predictions by claim check: the rows are a file, the answer is a file, and memory stays bounded by a chunk.

A job whose worker was lost goes on where that was, with the version that began it: one job, one version, also where
another one serves by then. Where that version cannot be had any more, it starts anew with the champion.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import Connection

from jobs.kinds import ROWS_AT_ONCE
from ml.prediction import Prediction, predict
from ml.rows import Rows, pack, take, unpack
from problems.declaration import Problem
from problems.rows import PackedRows
from storage import ledger, predictions, tallies
from storage.artifacts import SettledBehind
from storage.jobs import Job, NewJob
from storage.predictions import Logged
from workers import partial, serving, tables
from workers.answers import Answers, class_name, prediction_batch
from workers.columns import as_rows
from workers.lease import Claim
from workers.partial import Note, Partial
from workers.room import Room
from workers.run import Done, JobFailed
from workers.shelf import Loaded

CHUNK = 8_192  # rows in memory at once
BEHIND = 2  # chunks that are predicted and not yet written
KEPT_EVERY_S = 1.0  # how much work a lost worker costs at most; as often, progress is told


@dataclass(frozen=True, slots=True)
class _Source:
    """Checked rows in artifact `name`: how many, those of [start, stop), and those at some places."""

    name: str
    rows: int
    between: Callable[[int, int], Rows]
    at: Callable[[NDArray[np.int64]], Rows]

    def sample(self, problem: Problem) -> bytes:
        """Some rows, evenly spaced: what feature drift looks at in place of the file."""
        places = np.linspace(0, self.rows - 1, min(self.rows, predictions.SAMPLED)).astype(np.int64)
        return pack(problem, self.at(places)).encode()


def work(room: Room, job: Job, claim: Claim) -> Done:
    """Predict every row of the job's file."""
    before = partial.furthest(room.artifacts, job.id)
    loaded = serving.version(room, job.model, before.version) if before else None
    if before is None or loaded is None:
        before, loaded = None, _champion(room, job.model)
    with SettledBehind() as disk:
        source = _source(room, loaded.problem, before.source if before else _checked(room, job, loaded.problem, disk))
        if source.rows <= ROWS_AT_ONCE:
            return _small(job, loaded, source)
        result: dict[str, Any] = {"model": job.model, "version": loaded.version.name, "rows": source.rows}
        name, result["labels"] = _large(room, job, claim, loaded, source, before, disk)
    logged = _logged(job, loaded, source)

    def settle(tx: Connection, now: float) -> Sequence[NewJob]:
        partial.forget_others(room.artifacts, job.id, name)
        return _log(tx, logged, now)

    return Done(result, name, settle)


def _champion(room: Room, model: str) -> Loaded:
    with room.db.read() as tx:
        champion = serving.champion(room, tx, model)
    if champion is None:
        raise JobFailed("no_model", f"No champion of '{model}'.")
    return champion


def _checked(room: Room, job: Job, problem: Problem, disk: SettledBehind) -> str:
    """The artifact that holds the job's rows, checked."""
    given = job.artifact or ""
    if given.endswith(".bin"):
        return given
    return tables.rows_to_predict(room, problem, given, f"bodies/{job.id}/rows.arrow", disk)


def _source(room: Room, problem: Problem, name: str) -> _Source:
    path = room.artifacts.path(name)
    if path.suffix == ".bin":
        packed = PackedRows.of_file(path)
        whole = unpack(problem, packed)
        return _Source(
            name, packed.count, lambda start, stop: take(whole, slice(start, stop)), lambda places: take(whole, places)
        )
    table = tables.mapped(path)
    return _Source(
        name,
        table.num_rows,
        lambda start, stop: as_rows(problem, table.slice(start, stop - start)),
        lambda places: as_rows(problem, table.take(pa.array(places))),
    )


def _large(
    room: Room, job: Job, claim: Claim, loaded: Loaded, source: _Source, before: Note | None, disk: SettledBehind
) -> tuple[str, dict[str, int]]:
    """The artifact of the whole answer, and how many rows have which label."""
    token = claim.owner.rsplit("/", 1)[-1]
    with Partial(room.artifacts, job.id, token, source.name, loaded.version.name) as answer, _Writer(job.id, answer) as writer:
        if before:
            answer.adopt(before)
            _tell(room, job, claim, before.done / source.rows)
        kept_at = time.monotonic()
        for start in range(answer.note.done, source.rows, CHUNK):
            claim.check()
            rows = source.between(start, min(start + CHUNK, source.rows))
            writer.put(predict(loaded.pipeline, loaded.problem, rows), start)
            if time.monotonic() - kept_at >= KEPT_EVERY_S:
                writer.drain()
                disk.wait()  # for a note names the source
                answer.keep()
                _tell(room, job, claim, answer.note.done / source.rows)
                kept_at = time.monotonic()
        writer.drain()
        disk.wait()  # in here: what the disk refuses leaves no answer behind
        return answer.finish(), dict(answer.labels)


class _Writer:
    """Writes one chunk of an answer while the next one is predicted. A context: its thread ends with it."""

    def __init__(self, job_id: str, answer: Partial) -> None:
        self._job_id, self._answer = job_id, answer
        self._thread = ThreadPoolExecutor(1, "answer")
        self._under_way: deque[Future[None]] = deque()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def put(self, said: Prediction, start: int) -> None:
        """Give it the rows from `start` on; waits while it is `BEHIND` chunks behind, and raises what it has met."""
        self._under_way.append(self._thread.submit(self._write, said, start))
        while len(self._under_way) > BEHIND:
            self._under_way.popleft().result()

    def drain(self) -> None:
        """Wait until all is written."""
        while self._under_way:
            self._under_way.popleft().result()

    def _write(self, said: Prediction, start: int) -> None:
        batch = prediction_batch(self._job_id, said, start)
        self._answer.append(batch, _labels(batch))


def _labels(batch: pa.RecordBatch) -> dict[str, int]:
    if "label" not in batch.schema.names:
        return {}
    return {class_name(each["values"]): each["counts"] for each in pc.value_counts(batch["label"]).to_pylist()}


def _small(job: Job, loaded: Loaded, source: _Source) -> Done:
    said = predict(loaded.pipeline, loaded.problem, source.between(0, source.rows))
    answers = Answers(said).rows(job.id, 0, source.rows)
    result = {"model": job.model, "version": loaded.version.name, "predictions": answers}
    logged = _logged(job, loaded, source)
    return Done(result, None, lambda tx, now: _log(tx, logged, now))


def _tell(room: Room, job: Job, claim: Claim, share: float) -> None:
    with room.db.begin() as tx:
        ledger.progress(tx, claim.owner, job.id, round(share, 4))


def _logged(job: Job, loaded: Loaded, source: _Source) -> Logged:
    return Logged(job.id, job.model, loaded.version.name, source.rows, None, source.name, 0.0, source.sample(loaded.problem))


def _log(tx: Connection, logged: Logged, now: float) -> Sequence[NewJob]:
    predictions.log(tx, [msgspec.structs.replace(logged, created_at=now)])
    tallies.add(tx, {("predictions", logged.model, logged.version): logged.rows})
    return ()
