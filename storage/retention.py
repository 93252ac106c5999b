"""What is kept for `RETENTION_DAYS` only, pruned in small steps: ended jobs with their files, and predictions nobody labelled.

Datasets, labels and the predictions that they belong to stay: they are what models learn from. So do decisions and the
rows of versions; the files of versions go by `storage.old_versions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, exists, select

from storage.dialects import among, upsert
from storage.ids import first_id
from storage.jobs import TERMINAL
from storage.schema import checks, coverage, incidents, jobs, labels, predictions, pruned, shadows


def prune(tx: Connection, before: float, most: int) -> list[str]:
    """Delete up to `most` jobs, checks and incidents from before a moment.

    Returns the artifact folders that are needed no longer, to be removed after commit.
    """
    oldest = first_id(before)
    columns = (jobs.c.id, jobs.c.kind, jobs.c.queue, jobs.c.status, jobs.c.failures)
    query = select(*columns).where(jobs.c.id < oldest, jobs.c.status.in_(sorted(TERMINAL)))
    rows = tx.execute(query.order_by(jobs.c.id).limit(most)).all()
    for table in (checks, incidents):
        old = select(table.c.id).where(table.c.id < oldest).order_by(table.c.id).limit(most)
        tx.execute(delete(table).where(table.c.id.in_(old.scalar_subquery())))
    tx.execute(delete(coverage).where(coverage.c.day < int(before // 86_400)))
    if not rows:
        return []
    _count(tx, rows)
    ids = [row.id for row in rows]
    tx.execute(delete(jobs).where(among(tx, jobs.c.id, ids)))
    tx.execute(delete(shadows).where(among(tx, shadows.c.job_id, ids)))
    labelled = exists().where(labels.c.job_id == predictions.c.job_id)
    gone = delete(predictions).where(among(tx, predictions.c.job_id, ids), ~labelled).returning(predictions.c.job_id)
    tx.execute(gone).all()
    kept = set(tx.execute(select(predictions.c.job_id).where(among(tx, predictions.c.job_id, ids))).scalars())
    return [f"results/{each}" for each in ids] + [f"bodies/{each}" for each in ids if each not in kept]


def _count(tx: Connection, rows: Sequence[Any]) -> None:
    totals: dict[tuple[str, str, str], tuple[int, int]] = {}
    for _, kind, queue, status, failures in rows:
        count, retries = totals.get((kind, queue, status), (0, 0))
        totals[kind, queue, status] = (count + 1, retries + failures)
    for (kind, queue, status), (count, retries) in totals.items():
        values = {"kind": kind, "queue": queue, "status": status, "count": count, "retries": retries}
        more = {"count": pruned.c.count + count, "retries": pruned.c.retries + retries}
        statement = upsert(tx, pruned).values(values)
        tx.execute(statement.on_conflict_do_update(index_elements=["kind", "queue", "status"], set_=more))
