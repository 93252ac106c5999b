"""Bulk predictions by claim check: the rows are a file, the answer is a file, and memory stays bounded by a chunk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection

from ml.prediction import predict
from ml.rows import Rows, take, unpack
from problems.rows import PackedRows
from storage import ledger, predictions
from storage.jobs import Job, NewJob
from storage.predictions import Logged
from workers import serving, tables
from workers.answers import Answers, class_name, prediction_columns
from workers.lease import Claim
from workers.room import Room
from workers.run import Done, JobFailed
from workers.shelf import Loaded

CHUNK = 8_192  # rows in memory at once
ROWS_IN_JSON = 1_000  # above, the job's result is a summary and the rows are a file


def work(room: Room, job: Job, claim: Claim) -> Done:
    """Predict every row of the job's file."""
    with room.db.read() as tx:
        champion = serving.champion(room, tx, job.model)
    if champion is None:
        raise JobFailed("no_model", f"No champion of '{job.model}'.")
    source, rows = _source(room, job, champion)
    if rows <= ROWS_IN_JSON:
        return _small(room, job, champion, source, rows)
    name = f"results/{job.id}/{job.attempt}.arrow"
    counts: Counter[str] = Counter()
    with room.artifacts.writing(name) as draft:
        writer = None
        for done, chunk in _chunks(room, champion, source, rows):
            claim.check()
            columns = prediction_columns(predict(champion.pipeline, champion.problem, chunk))
            counts.update(map(class_name, columns["label"].tolist()) if "label" in columns else ())
            table = pa.table(columns)
            writer = writer or pa.ipc.new_file(draft, table.schema)
            writer.write_table(table)
            _tell(room, job, claim, (done + len(chunk)) / rows)
        if writer:
            writer.close()
    result: dict[str, Any] = {
        "model": job.model,
        "version": champion.version.name,
        "rows": rows,
        "labels": dict(counts),
    }
    return Done(result, name, lambda tx, now: _log(tx, job, champion, source, rows, now))


def _source(room: Room, job: Job, champion: Loaded) -> tuple[str, int]:
    """The artifact that holds the rows, checked, and how many there are."""
    given = job.artifact or ""
    if given.endswith(".bin"):
        return given, PackedRows.decode(room.artifacts.path(given).read_bytes()).count
    name = f"bodies/{job.id}/rows.arrow"
    return name, tables.rows_to_predict(room, champion.problem, given, name)


def _chunks(room: Room, champion: Loaded, source: str, rows: int) -> Iterator[tuple[int, Rows]]:
    path = room.artifacts.path(source)
    if source.endswith(".bin"):
        whole = unpack(champion.problem, PackedRows.decode(path.read_bytes()))
        for start in range(0, rows, CHUNK):
            yield start, take(whole, slice(start, min(start + CHUNK, rows)))
        return
    for start in range(0, rows, CHUNK):
        yield start, tables.rows_of(champion.problem, path, start, CHUNK)


def _small(room: Room, job: Job, champion: Loaded, source: str, rows: int) -> Done:
    parts = [chunk for _, chunk in _chunks(room, champion, source, rows)]
    said = predict(champion.pipeline, champion.problem, parts[0])
    answers = Answers(said).rows(job.id, 0, rows)
    result = {"model": job.model, "version": champion.version.name, "predictions": answers}
    return Done(result, None, lambda tx, now: _log(tx, job, champion, source, rows, now))


def _tell(room: Room, job: Job, claim: Claim, share: float) -> None:
    with room.db.begin() as tx:
        ledger.progress(tx, claim.owner, job.id, round(share, 4))


def _log(tx: Connection, job: Job, champion: Loaded, source: str, rows: int, now: float) -> Sequence[NewJob]:
    predictions.log(tx, [Logged(job.id, job.model, champion.version.name, rows, None, source, now)])
    return ()
