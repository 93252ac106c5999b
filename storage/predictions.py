"""The prediction log: what each succeeded predict job was asked, so that a label that comes back later finds its row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select

from storage.dialects import fetch, insert_many
from storage.ids import first_id
from storage.schema import predictions

SAMPLED = 1_000  # rows of a file that are kept beside it
_GET_MANY = 'SELECT job_id, model, version, "rows", features, artifact, created_at FROM predictions WHERE job_id {among}'
_SIZES = 'SELECT job_id, model, "rows" FROM predictions WHERE job_id {among}'
_NEWEST = (
    'SELECT job_id, "rows", features IS NULL FROM predictions WHERE model = ? AND (features IS NOT NULL OR sample IS NOT NULL)'
    " ORDER BY job_id DESC LIMIT ?"
)
_AT_HAND = _GET_MANY.replace("created_at", "created_at, sample") + " ORDER BY job_id DESC"
COLUMNS = ("job_id", "model", "version", '"rows"', "features", "artifact", "created_at", "sample")


class Logged(msgspec.Struct, frozen=True):
    """One predict job's rows: `features` is a PackedRows message, or None where `artifact` names the file that holds it.

    `sample`: of a file's rows some, evenly spaced, as PackedRows.
    """

    job_id: str
    model: str
    version: str
    rows: int
    features: bytes | None
    artifact: str | None
    created_at: float
    sample: bytes | None = None


def log(tx: Connection, entries: Sequence[Logged]) -> None:
    """Add what was predicted, in the transaction that finishes the jobs."""
    insert_many(tx, "predictions", COLUMNS, values(entries))


def values(entries: Sequence[Logged]) -> list[tuple[Any, ...]]:
    """A value for each of COLUMNS, by entry."""
    return [(e.job_id, e.model, e.version, e.rows, e.features, e.artifact, e.created_at, e.sample) for e in entries]


def get_many(tx: Connection, job_ids: Sequence[str]) -> dict[str, Logged]:
    """Those of the jobs that are in the log, by id."""
    return {row[0]: Logged(*row) for row in fetch(tx, _GET_MANY, list(job_ids))} if job_ids else {}


def recent(tx: Connection, model: str, rows: int) -> list[Logged]:
    """The newest entries of a model that hold `rows` rows together, newest first; of a file its sample counts."""
    chosen: list[str] = []
    have = 0
    for job_id, count, in_file in fetch(tx, _NEWEST, model, rows):
        if have >= rows:
            break
        chosen.append(job_id)
        have += min(count, SAMPLED) if in_file else count
    return [Logged(*row) for row in fetch(tx, _AT_HAND, chosen)]


def rows_since(tx: Connection, moment: float) -> int:
    """How many rows were predicted for jobs that were accepted since a moment (epoch seconds), for all models."""
    query = select(func.coalesce(func.sum(predictions.c.rows), 0)).where(predictions.c.job_id >= first_id(moment))
    return int(tx.execute(query).scalar_one())


@dataclass(frozen=True, slots=True)
class Size:
    """Whose prediction a job's rows are, and how many there are."""

    model: str
    rows: int


def sizes(tx: Connection, job_ids: Sequence[str]) -> dict[str, Size]:
    """Model and number of rows of those of the jobs that are in the log, without their features."""
    return {job_id: Size(model, rows) for job_id, model, rows in fetch(tx, _SIZES, list(job_ids))}
