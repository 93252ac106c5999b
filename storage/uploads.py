"""Tables as clients sent them, `bodies/<job id>/table.*`: needed until the job has succeeded, or was cancelled.

What was made of a table is kept in its place: checked rows, a dataset, labels. Only a table that was read where it lies, as
plain Arrow may be, is itself what is kept. A job that failed or died keeps its table, for it may be retried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from sqlalchemy import Connection, select, update

from storage.artifacts import DRAFT, Artifacts
from storage.dialects import among
from storage.ids import first_id
from storage.schema import jobs, predictions

KEPT_S: Final = 3_600.0  # after the job's end: a backup that begins before it has the table under a name of its own by then
AT_ONCE: Final = 200
FOR_GOOD: Final = ("succeeded", "cancelled")


def lying(artifacts: Artifacts, before: float) -> Iterator[dict[str, str]]:
    """The tables of jobs that were accepted before a moment, by job, some at a time."""
    oldest, files = first_id(before), artifacts.path("bodies").glob("*/table.*")
    found = ((path.parent.name, path.name) for path in files if path.suffix != DRAFT)
    tables = ((job_id, f"bodies/{job_id}/{name}") for job_id, name in found if job_id < oldest)
    while some := dict(islice(tables, AT_ONCE)):
        yield some


def forget(tx: Connection, tables: Mapping[str, str], before: float) -> list[str]:
    """Have jobs that ended for good before a moment name their tables no longer. Returns these, to be removed after commit."""
    ended = (among(tx, jobs.c.id, list(tables)), jobs.c.status.in_(FOR_GOOD), jobs.c.finished_at < before)
    kept = select(jobs.c.id, predictions.c.artifact).outerjoin(predictions, predictions.c.job_id == jobs.c.id).where(*ended)
    spent = [job_id for job_id, rows in tx.execute(kept) if rows != tables[job_id]]
    if spent:
        tx.execute(update(jobs).where(among(tx, jobs.c.id, spent)).values(artifact=None))
    return [tables[job_id] for job_id in spent]
