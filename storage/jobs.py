"""The jobs table as clients see it: accepted, read, listed, cancelled. Claims are in `claims`, leases and ends in `ledger`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, TextClause, func, select, text, update

from storage.dialects import fetch, insert_many, upsert
from storage.ids import first_id, new_id, time_of
from storage.pages import Page, page
from storage.schema import ENDED_BADLY, OTHER_KINDS, jobs

Status = Literal["queued", "running", "succeeded", "failed", "dead", "cancelled"]
TERMINAL: frozenset[str] = frozenset({"succeeded", "failed", "dead", "cancelled"})
SKEW_S = 60.0  # by which the clocks of our hosts may differ
RING_GRACE_S = 3.0  # a job that is still queued this long after its commit is rung again by the sweeper


class NewJob(msgspec.Struct, frozen=True):
    """A job about to be accepted. (Structs, this one and the next: made for each row, they cost a sixth of a dataclass.)

    `delay` is seconds until it is rung; `lane` names jobs that must not run side by side;
    `dedupe_key` makes a second insert of the same key a no-op.
    """

    id: str
    kind: str
    model: str
    queue: str
    max_attempts: int
    payload: bytes | None = None
    artifact: str | None = None
    dedupe_key: str | None = None
    lane: str | None = None
    request_id: str | None = None
    delay: float = 0.0

    @classmethod
    def make(cls, kind: str, model: str, queue: str, now: float, max_attempts: int, **rest: Any) -> NewJob:
        """A job with a fresh id of this moment."""
        return cls(new_id(now), kind, model, queue, max_attempts, **rest)

    @property
    def created_at(self) -> float:
        """The moment in its id, so that jobs sorted by id are sorted by time as well."""
        return time_of(self.id)


class Job(msgspec.Struct, frozen=True):
    """A row of the ledger; see `schema.jobs` for the columns."""

    id: str
    kind: str
    model: str
    queue: str
    status: Status
    attempt: int
    max_attempts: int
    failures: int
    payload: bytes | None
    artifact: str | None
    owner: str | None
    task_id: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    progress: float | None
    result: str | None
    error: str | None
    result_artifact: str | None
    lane: str | None
    request_id: str | None


SEEN = [jobs.c[name] for name in Job.__struct_fields__]
SEEN_SQL = ", ".join(Job.__struct_fields__)


def job_of(row: Row[Any]) -> Job:
    return Job(*tuple(row))


def add(tx: Connection, new: Sequence[NewJob]) -> list[NewJob]:
    """Insert jobs as queued; those whose dedupe key is taken are left out. Returns the ones inserted, to be rung after commit."""
    plain = [job for job in new if job.dedupe_key is None]
    insert_many(tx, "jobs", _COLUMNS, [_values(job) for job in plain])
    return plain + [job for job in new if job.dedupe_key is not None and _add_once(tx, job)]


def _add_once(tx: Connection, job: NewJob) -> bool:
    values = dict(zip(_COLUMNS, _values(job), strict=True))
    statement = upsert(tx, jobs).values(values).on_conflict_do_nothing(index_elements=["dedupe_key"])
    return bool(tx.execute(statement.returning(jobs.c.id)).first())


_COLUMNS = (
    *("id", "kind", "model", "queue", "status", "attempt", "failures", "max_attempts", "payload", "artifact"),
    *("created_at", "next_publish_at", "dedupe_key", "lane", "request_id"),
)


def _values(job: NewJob) -> tuple[object, ...]:
    at = job.created_at
    return (
        *(job.id, job.kind, job.model, job.queue, "queued", 0, 0, job.max_attempts, job.payload, job.artifact),
        *(at, at + (job.delay or RING_GRACE_S), job.dedupe_key, job.lane, job.request_id),
    )


def forget_later_keys(tx: Connection, kind: str, now: float) -> None:
    """Free the dedupe keys of ended jobs from a time that is yet to come: the clock was set back since, and it comes again."""
    later = (jobs.c.id > first_id(now + SKEW_S), jobs.c.kind == kind, jobs.c.status.in_(sorted(TERMINAL)))
    tx.execute(update(jobs).where(*later, jobs.c.dedupe_key.is_not(None)).values(dedupe_key=None))


def get(tx: Connection, job_id: str) -> Job | None:
    """The job, or None if it was never accepted."""
    return get_many(tx, [job_id]).get(job_id)


def of_key(tx: Connection, dedupe_key: str) -> Job | None:
    """The job that was made under this key, if one was."""
    row = tx.execute(select(*SEEN).where(jobs.c.dedupe_key == dedupe_key)).first()
    return job_of(row) if row else None


_GET_MANY = f"SELECT {SEEN_SQL} FROM jobs WHERE id {{among}}"  # noqa: S608 - names of our own


def get_many(tx: Connection, job_ids: Sequence[str]) -> dict[str, Job]:
    """Those of the jobs that exist, by id."""
    return {row[0]: Job(*row) for row in fetch(tx, _GET_MANY, list(job_ids))}


def listed(tx: Connection, kind: str | None, status: str | None, model: str | None, limit: int, cursor: str | None) -> Page[Job]:
    """A page of jobs, newest first, without their payloads."""
    query = select(*SEEN)
    for column, value in ((jobs.c.kind, kind), (jobs.c.status, status), (jobs.c.model, model)):
        if value is not None:
            query = query.where(column == value)
    return page(tx, query.where(*_indexed(kind, status)), jobs.c.id, limit, cursor, job_of)


def _indexed(kind: str | None, status: str | None) -> Iterator[ColumnElement[bool] | TextClause]:
    """What follows from the two, in the words of the index that then answers: few jobs among millions are found by it."""
    if status in ("failed", "dead", "cancelled"):
        yield text(ENDED_BADLY)
    elif status in ("queued", "running"):  # in a query of its own: SQLite would rather walk all ids in the order asked for
        yield jobs.c.id.in_(select(jobs.alias().c.id).where(text(f"status = '{status}'")).scalar_subquery())
    elif kind not in (None, "predict"):
        yield text(OTHER_KINDS)


def cancel(tx: Connection, job_id: str, now: float) -> Literal["cancelled", "terminal", "unknown"]:
    """Cancel a queued or running job. A worker that still runs it finds that out at its next heartbeat or its finish."""
    statement = (
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status.in_(["queued", "running"]))
        .values(status="cancelled", finished_at=now, lease_until=None, next_publish_at=None, payload=None)
    )
    if tx.execute(statement).rowcount:
        return "cancelled"
    return "terminal" if tx.execute(select(jobs.c.id).where(jobs.c.id == job_id)).first() else "unknown"


# from the indexes of what is open: by `model` or `id` as they are SQLite would walk through all that has ended
_OPEN = (
    "SELECT min(id || '') FROM jobs WHERE status = 'queued' AND model || '' = ?"
    " UNION ALL SELECT min(id || '') FROM jobs WHERE status = 'running' AND model || '' = ?"
)
_OPEN_OF_KIND = _OPEN.replace(" AND model", " AND kind = ? AND model")


def open_job(tx: Connection, kind: str | None, model: str) -> str | None:
    """The id of the model's oldest job of this kind, or of any, that is queued or running, if there is one."""
    found = fetch(tx, _OPEN_OF_KIND, kind, model, kind, model) if kind else fetch(tx, _OPEN, model, model)
    return min((row[0] for row in found if row[0]), default=None)


def count_queued(tx: Connection) -> int:
    """How many jobs wait."""
    return int(tx.execute(select(func.count()).select_from(jobs).where(jobs.c.status == "queued")).scalar_one())


def wake_waiting(tx: Connection, model: str, now: float) -> None:
    """Let predictions that waited for the model's first champion be rung by the next sweep."""
    waiting = (*predictions_of(model), jobs.c.status == "queued", jobs.c.deadline_at.is_not(None))
    tx.execute(update(jobs).where(*waiting).values(deadline_at=None, next_publish_at=now))


def predictions_of(model: str) -> tuple[ColumnElement[bool], ...]:
    """That a job is a prediction of this model, beside a status by whose index it is found.

    By `model` as it is SQLite would walk through all that has ended.
    """
    return jobs.c.model.concat("") == model, jobs.c.kind == "predict"
