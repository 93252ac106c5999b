"""What a challenger in shadow would have answered, beside the prediction log; no client is shown it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, exists, insert, select

from storage.ids import first_id
from storage.predictions import Logged
from storage.schema import predictions, shadows


@dataclass(frozen=True, slots=True)
class Shadow:
    """One predict job's answers: `answers` is JSON as clients know it, `agreed` how many rows the champion answers alike."""

    job_id: str
    model: str
    version: str
    rows: int
    agreed: int
    answers: str
    created_at: float


def log(tx: Connection, entries: Sequence[Shadow]) -> None:
    if entries:
        tx.execute(insert(shadows), [asdict(entry) for entry in entries])


def get(tx: Connection, job_id: str) -> Shadow | None:
    row = tx.execute(select(shadows).where(shadows.c.job_id == job_id)).first()
    return Shadow(*row) if row else None


def unanswered(tx: Connection, model: str, since: float, rows: int) -> list[Logged]:
    """Of the newest predictions of a model, `rows` rows together, those that have no shadow yet, newest first.

    Whatever is older than these is skipped for good, so that a backlog costs no more than quiet traffic does. Predictions
    from before the moment `since`, and those whose rows are in files, are left out.
    """
    mine = (predictions.c.model == model, predictions.c.job_id >= first_id(since), predictions.c.features.is_not(None))
    known = exists().where(shadows.c.job_id == predictions.c.job_id)
    query = select(known, predictions).where(*mine).order_by(predictions.c.job_id.desc()).limit(rows)
    found: list[Logged] = []
    have = 0
    for answered, *entry in tx.execute(query):
        logged = Logged(*entry)
        have += logged.rows
        if have > rows:
            break
        if not answered:
            found.append(logged)
    return found
