"""The state machine of jobs: lease, heartbeat, fence, finish, release, expiry; the claim is in `claims`.

    queued ──claim──▶ running ──finish──▶ succeeded | failed
      ▲                 │ │
      │◀──release───────┘ │   (soft shutdown: the attempt is refunded; retry: it is not)
      │◀──expire──────────┘   (silent worker: quarantined, or `dead` after the last attempt)

`attempt` counts claims, `failures` those that ended in an unexpected error: what is left are deaths of a worker,
and only these are held against `max_attempts`.

Each claim has an owner token of its own. Every later word of the worker carries it, so a worker that was
thought dead and comes back changes nothing: its token no longer owns the row. That is the fence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select, text, update

from storage import decisions, predictions
from storage.dialects import among, columns, fetch, fetch_values, is_lite
from storage.jobs import SEEN, Job, Status, predictions_of
from storage.predictions import Logged
from storage.schema import ENDED_BADLY, jobs

RUNNING = jobs.c.status == "running"
RING_AGAIN_S = 5.0  # between two doorbells for a job that stays queued
QUARANTINE = "quarantine"


class Outcome(msgspec.Struct, frozen=True):
    """How a job ended: JSON texts as they will be answered."""

    job_id: str
    status: Status
    result: str | None = None
    error: str | None = None
    result_artifact: str | None = None


@dataclass(frozen=True, slots=True)
class Doorbell:
    """A job to be rung: which queue, which kind of task, which job."""

    queue: str
    kind: str
    job_id: str


@dataclass(frozen=True, slots=True)
class Lease:
    """What a claim says of itself: who it is, and the end that its last heartbeat gave it, by that worker's clock."""

    owner: str
    until: float


def error_json(kind: str, message: str, attempts: int, errors: Sequence[object] = ()) -> str:
    """A job's error as it is answered: type, one sentence, attempts, and the faults of its rows where there are any."""
    error: dict[str, object] = {"type": kind, "message": message, "attempts": attempts}
    return msgspec.json.encode(error | ({"errors": list(errors)} if errors else {})).decode()


def heartbeat(tx: Connection, owners: Sequence[str], now: float, lease_s: float) -> set[str]:
    """Extend the leases of these claims. Returns the owners that still hold at least one job."""
    statement = update(jobs).where(jobs.c.owner.in_(owners), RUNNING).values(lease_until=now + lease_s)
    return set(tx.execute(statement.returning(jobs.c.owner)).scalars())


_FINISH = (
    "UPDATE jobs SET status = ended, result = made, error = fault, result_artifact = file, finished_at = ?,"
    " progress = NULL, lease_until = NULL, payload = CASE WHEN ended = 'failed' THEN payload END"
    " FROM done WHERE "
)
_FINISH_VALUES = (
    f"WITH done (job, ended, made, fault, file) AS ({{values}}) {_FINISH} id = job AND owner = ? AND status || '' = 'running'"
    " RETURNING id"
)
# PostgreSQL keeps to a plan that it made while there were five jobs when there are a million: by `id = ANY` they are looked up
# in any of its plans, and by `|| ''` and CASE it does not expect one at most, for which it would compare each with each.
_FINISH_AND_LOG = (
    "WITH done AS (SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[]) AS"  # noqa: S608
    f" _ (job, ended, made, fault, file)), finished AS ({_FINISH} id || '' = job AND id = ANY(%b::text[])"
    " AND CASE WHEN owner = ? THEN status = 'running' END RETURNING id),"
    f" logged AS (INSERT INTO predictions ({', '.join(predictions.COLUMNS)}) SELECT * FROM unnest(%b::text[], %b::text[],"
    " %b::text[], %b::bigint[], %b::bytea[], %b::text[], %b::double precision[], %b::bytea[]) AS _ (job)"
    " WHERE job IN (SELECT id FROM finished)) SELECT id FROM finished"
)


def finish(tx: Connection, owner: str, outcomes: Sequence[Outcome], now: float, logged: Sequence[Logged] = ()) -> set[str]:
    """Record how jobs of this claim ended. Returns the ids recorded; the others were lost (cancelled, or taken for dead).

    A failed job keeps its payload, so that an operator may try it again.

    Args:
        logged: what some of them were asked, for the log, if they are recorded. To PostgreSQL all of it is one statement, for
            which `Database.singly` will do.
    """
    ends = [(o.job_id, o.status, o.result, o.error, o.result_artifact) for o in outcomes]
    if is_lite(tx):
        recorded = {row[0] for row in fetch_values(tx, _FINISH_VALUES, ends, now, owner)}
        predictions.log(tx, [each for each in logged if each.job_id in recorded])
        return recorded
    ids, *rest = columns(ends, 5)
    asked = columns(predictions.values(logged), len(predictions.COLUMNS))
    return {row[0] for row in fetch(tx, _FINISH_AND_LOG, ids, *rest, now, ids, owner, *asked)}


def retry(tx: Connection, owner: str, job_ids: Sequence[str], at: float) -> None:
    """Give jobs back after an unexpected error, to be rung at `at`."""
    statement = (
        update(jobs)
        .where(jobs.c.owner == owner, jobs.c.id.in_(job_ids), RUNNING)
        .values(
            status="queued",
            owner=None,
            lease_until=None,
            progress=None,
            next_publish_at=at,
            failures=jobs.c.failures + 1,
        )
    )
    tx.execute(statement)


def release(tx: Connection, owner_prefix: str, now: float) -> int:
    """Give back all jobs of the claims that start with `owner_prefix`, with their attempts refunded: a soft shutdown."""
    statement = (
        update(jobs)
        .where(jobs.c.owner.startswith(owner_prefix, autoescape=True), RUNNING)
        .values(
            status="queued",
            owner=None,
            lease_until=None,
            progress=None,
            next_publish_at=now,
            attempt=jobs.c.attempt - 1,
            started_at=None,
        )
    )
    return tx.execute(statement).rowcount


def progress(tx: Connection, owner: str, job_id: str, share: float) -> None:
    """Say how much of a running job is done, 0 to 1."""
    tx.execute(update(jobs).where(jobs.c.id == job_id, jobs.c.owner == owner, RUNNING).values(progress=share))


def note(tx: Connection, owner: str, job_id: str, payload: bytes, share: float) -> bool:
    """Keep how far a running job is, for whoever may have to go on with it; False if this claim has lost it."""
    mine = (jobs.c.id == job_id, jobs.c.owner == owner, RUNNING)
    return bool(tx.execute(update(jobs).where(*mine).values(payload=payload, progress=share)).rowcount)


def wait_for_champion(tx: Connection, job_ids: Sequence[str], task_id: str, now: float, wait_s: float) -> None:
    """Leave predictions queued until their model has a champion, each at most `wait_s` seconds from its acceptance."""
    statement = (
        update(jobs)
        .where(jobs.c.id.in_(job_ids), jobs.c.status == "queued")
        .values(deadline_at=jobs.c.created_at + wait_s, next_publish_at=now + RING_AGAIN_S, task_id=task_id)
    )
    tx.execute(statement)


def fail_hopeless(tx: Connection, now: float) -> list[str]:
    """End the predictions whose wait for a champion is over. Returns their ids."""
    query = select(jobs.c.id, jobs.c.model, jobs.c.attempt, jobs.c.created_at).where(
        jobs.c.status == "queued", jobs.c.deadline_at <= now
    )
    rows = tx.execute(query.with_for_update(skip_locked=True)).all()
    for row in rows:
        last = decisions.newest(tx, row.model)
        why = f": {last.reason}" if last and last.action == "reject" else "."
        message = f"No champion of '{row.model}' could serve it within {now - row.created_at:.0f} s{why}"
        hopeless = update(jobs).where(jobs.c.id == row.id, jobs.c.status == "queued")
        tx.execute(hopeless.values(_no_model(message, row.attempt, now)))
    return [row.id for row in rows]


def forget_rows(tx: Connection, model: str, message: str, now: float) -> None:
    """The rows that a model was asked for mean something else to it from now on.

    The predictions that wait for its first champion fail, and none that failed can be tried again.
    """
    mine = predictions_of(model)
    tx.execute(update(jobs).where(*mine, jobs.c.status == "queued").values(_no_model(message, 0, now)))
    tx.execute(update(jobs).where(*mine, text(ENDED_BADLY)).values(payload=None, artifact=None))


def _no_model(message: str, attempt: int, now: float) -> dict[str, Any]:
    error = error_json("no_model", message, attempt)
    return {"status": "failed", "error": error, "finished_at": now, "next_publish_at": None}


def leases(tx: Connection) -> list[Lease]:
    """The lease of each claim that holds a job."""
    return [Lease(*row) for row in tx.execute(select(jobs.c.owner, jobs.c.lease_until).where(RUNNING).distinct())]


def expire(tx: Connection, silent: Sequence[Lease], now: float) -> tuple[list[Doorbell], list[Job]]:
    """Take jobs back from claims that fell silent, unless they have spoken since.

    Returns the ones to ring (alone, in quarantine) and the ones now dead. Who is silent is for the caller to say:
    clocks step, so `Lease.until` is compared with itself and never with a time of day.
    """
    if not silent:
        return [], []
    known = {(lease.owner, lease.until) for lease in silent}
    query = select(*SEEN, jobs.c.lease_until).where(RUNNING, among(tx, jobs.c.owner, [lease.owner for lease in silent]))
    rows = tx.execute(query.order_by(jobs.c.id).with_for_update(skip_locked=True)).all()
    lost = [Job(*row[:-1]) for row in rows if (row.owner, row.lease_until) in known]
    dead = [job for job in lost if job.attempt - job.failures >= job.max_attempts]
    for job in dead:
        _end_dead(tx, job, worker_lost(job), now)
    again = [job.id for job in lost if job.attempt - job.failures < job.max_attempts]
    values = {"status": "queued", "owner": None, "lease_until": None, "progress": None, "queue": QUARANTINE}
    if again:
        tx.execute(update(jobs).where(among(tx, jobs.c.id, again), RUNNING).values(**values, next_publish_at=now))
    return [Doorbell(QUARANTINE, job.kind, job.id) for job in lost if job not in dead], dead


def worker_lost(job: Job) -> str:
    """The error of a job that is dead."""
    deaths = job.attempt - job.failures
    return error_json(
        "worker_lost", f"It took its worker down, or its worker fell silent, on each of {deaths} attempts.", job.attempt
    )


def _end_dead(tx: Connection, job: Job, error: str, now: float) -> None:
    values = {"status": "dead", "error": error, "finished_at": now, "lease_until": None, "progress": None}
    tx.execute(update(jobs).where(jobs.c.id == job.id, RUNNING).values(values))


def due(tx: Connection, now: float, most: int, queue: str) -> list[Doorbell]:
    """The oldest queued jobs of a queue whose doorbell is due: it was lost, or is still on its way."""
    return _queued(tx, most, queue, jobs.c.next_publish_at <= now)


def rung(tx: Connection, job_ids: Sequence[str], now: float) -> None:
    """Note that these queued jobs were rung, or are known to be in their queue: not due again for a while."""
    statement = update(jobs).where(among(tx, jobs.c.id, job_ids), jobs.c.status == "queued")
    tx.execute(statement.values(next_publish_at=now + RING_AGAIN_S))


# by `id` as it is SQLite would walk through all that has ended
_NEXT_IN_LANE = (
    "SELECT queue, kind, id FROM jobs WHERE status = 'queued' AND queue IN (?, ?) AND lane = ? ORDER BY id || '' LIMIT 1"
)


def next_in_lane(tx: Connection, lane: str | None, queue: str) -> Doorbell | None:
    """The oldest job that waits for this lane, in its queue or in quarantine."""
    found = fetch(tx, _NEXT_IN_LANE, queue, QUARANTINE, lane) if lane else []
    return Doorbell(*found[0]) if found else None


def all_queued(tx: Connection, most: int, queue: str) -> list[Doorbell]:
    """Every queued job of a queue, oldest first: for when the broker lost its memory."""
    return _queued(tx, most, queue)


def _queued(tx: Connection, most: int, queue: str, *more: ColumnElement[bool]) -> list[Doorbell]:
    where = (jobs.c.status == "queued", jobs.c.queue == queue, *more)
    query = select(jobs.c.queue, jobs.c.kind, jobs.c.id).where(*where).order_by(jobs.c.id)
    return [Doorbell(*row) for row in tx.execute(query.limit(most))]


def clock_stepped(tx: Connection, now: float, wait_s: float) -> None:
    """The clock was set: whatever waits for a time of day is due now, and a wait for a champion begins anew."""
    tx.execute(update(jobs).where(jobs.c.status == "queued").values(next_publish_at=now))
    waiting = (jobs.c.status == "queued", jobs.c.deadline_at.is_not(None))
    tx.execute(update(jobs).where(*waiting).values(deadline_at=now + wait_s))


# min(id) of few rows among millions: SQLite would walk all ids in their order until one fits, if it could use them as they are
_OLDEST_RUNNING = "SELECT min(id || '') FROM jobs WHERE status = 'running' AND kind = ?"
_OLDEST_QUEUED = "SELECT min(id) FROM jobs WHERE status = 'queued' AND queue = ?"


def oldest_open(tx: Connection, kind: str, queues: Sequence[str]) -> str | None:
    """An id that sorts after no job of this kind that has not ended, given the queues in which they wait; None if all have."""
    found = [*fetch(tx, _OLDEST_RUNNING, kind), *(row for queue in queues for row in fetch(tx, _OLDEST_QUEUED, queue))]
    return min((row[0] for row in found if row[0]), default=None)


def backlog(tx: Connection) -> dict[str, tuple[int, float]]:
    """Queued jobs by queue: how many, and when the oldest was accepted."""
    query = select(jobs.c.queue, func.count(), func.min(jobs.c.created_at)).where(jobs.c.status == "queued")
    return {queue: (int(count), float(oldest)) for queue, count, oldest in tx.execute(query.group_by(jobs.c.queue))}


def owners(tx: Connection) -> list[str]:
    """The owner token of each running job."""
    return list(tx.execute(select(jobs.c.owner).where(RUNNING, jobs.c.owner.is_not(None))).scalars())
