"""Who takes which jobs: what waits is claimed by one worker at a time, and in a lane one job at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, exists, select, update
from sqlalchemy.exc import IntegrityError

from storage.dialects import among, columns, fetch, is_lite
from storage.jobs import SEEN, SEEN_SQL, Job, job_of
from storage.schema import jobs


class Queued(msgspec.Struct, frozen=True):
    """A job that waits, as far as whoever may claim it has to know; `small` if its rows are in the ledger, not in a file."""

    id: str
    model: str
    queue: str
    small: bool


class Served(NamedTuple):
    """Who serves a model: its champion, when its declaration last changed, and its canary if it has one."""

    model: str
    champion: str | None
    declared_at: float
    canary: str | None


# `status || ''`: by id. PostgreSQL, in whose plan there may be no queued jobs, would walk through the index of all that were
_WAITING = (
    "SELECT id, model, queue, artifact IS NULL FROM jobs WHERE id {among} AND status || '' = 'queued'"
    " UNION SELECT * FROM (SELECT id, model, queue, artifact IS NULL FROM jobs"
    " WHERE status = 'queued' AND queue = ? AND deadline_at IS NULL ORDER BY id LIMIT ?) AS companions ORDER BY 1"
)


def waiting(tx: Connection, job_ids: Sequence[str], queue: str, most: int) -> list[Queued]:
    """Those of the jobs that wait, and their companions: the oldest of a queue that could be claimed now. Oldest first.

    Whoever works anyway may take companions along.
    """
    return [Queued(*row) for row in fetch(tx, _WAITING, list(job_ids), queue, most)]


_RUN = (
    "UPDATE jobs SET status = 'running', attempt = attempt + 1, owner = ?, task_id = ?, lease_until = ?, started_at = ?,"
    " next_publish_at = NULL, deadline_at = NULL WHERE id"
)
_CLAIM = (
    "<run> IN (SELECT id FROM jobs WHERE id {among} AND status || '' = 'queued' AND lane IS NULL ORDER BY id {lock_free})"
    " RETURNING <job>"
)
_CLAIM = _CLAIM.replace("<run>", _RUN).replace("<job>", SEEN_SQL)


def claim(
    tx: Connection, job_ids: Sequence[str], owner: str, task_id: str, now: float, lease_s: float, in_lanes: bool = True
) -> list[Job]:
    """Take those of the jobs that are queued, and whose lane is free, for `lease_s` seconds.

    What is missing in the answer was claimed by another, ended, or waits for its lane: leave it alone.

    Args:
        in_lanes: some of them may be in a lane; that takes a transaction.
    """
    rows = fetch(tx, _CLAIM, owner, task_id, now + lease_s, now, list(job_ids))
    taken = [Job(*row) for row in rows]
    if in_lanes and len(taken) < len(job_ids):
        rest = sorted(set(job_ids) - {job.id for job in taken})
        taken += _claim_in_lanes(tx, rest, owner, task_id, now, lease_s)
    return sorted(taken, key=lambda job: job.id)


# by ARRAY PostgreSQL looks them up by id in any of its plans; see `ledger.finish`
_TAKE = (
    "WITH named AS MATERIALIZED (SELECT id, queue FROM jobs WHERE id = ANY(%b::text[]) AND status || '' = 'queued'),"
    " companions AS (SELECT id FROM jobs WHERE status = 'queued' AND queue = ? AND deadline_at IS NULL"
    " AND NOT EXISTS (SELECT FROM named WHERE queue <> ?) ORDER BY id LIMIT ?),"
    " known AS (SELECT * FROM unnest(%b::text[], %b::text[], %b::double precision[], %b::text[])"
    " AS _ (name, champion, at, other)),"
    " served AS MATERIALIZED (SELECT name FROM known JOIN models USING (name, champion)"
    " LEFT JOIN trials ON trials.model = name AND mode = 'canary' WHERE at = updated_at AND other IS NOT DISTINCT FROM version),"
    " taken AS (<run> = ANY(ARRAY(SELECT id FROM jobs"
    " WHERE id = ANY(ARRAY(SELECT id FROM named UNION SELECT id FROM companions)) AND status || '' = 'queued' AND queue = ?"
    " AND artifact IS NULL AND lane IS NULL AND model || '' IN (SELECT name FROM served) ORDER BY id FOR UPDATE SKIP LOCKED))"
    " RETURNING <job>) SELECT <job> FROM taken UNION ALL SELECT <job> FROM jobs"
    " WHERE id = ANY(ARRAY(SELECT id FROM named WHERE id NOT IN (SELECT id FROM taken))) ORDER BY id"
)
_TAKE = _TAKE.replace("<run>", _RUN).replace("<job>", SEEN_SQL)


def take(
    tx: Connection,
    job_ids: Sequence[str],
    queue: str,
    most: int,
    known: Sequence[Served],
    owner: str,
    task_id: str,
    now: float,
    lease_s: float,
) -> tuple[list[Job], list[Queued]]:
    """Claim of what `waiting` finds all that is in the ledger, and whose model is served as is known here.

    Returns what was claimed and what waits still, each oldest first. To PostgreSQL that is one round trip, not three. SQLite,
    to which a statement more is no journey, leaves all of it waiting.
    """
    if is_lite(tx) or not known:
        return [], waiting(tx, job_ids, queue, most)
    found = fetch(tx, _TAKE, list(job_ids), queue, queue, most, *columns(known, 4), owner, task_id, now + lease_s, now, queue)
    rows = [Job(*row) for row in found]
    still = [Queued(job.id, job.model, job.queue, job.artifact is None) for job in rows if job.status == "queued"]
    return [job for job in rows if job.status == "running"], still


def _claim_in_lanes(tx: Connection, job_ids: Sequence[str], owner: str, task_id: str, now: float, lease_s: float) -> list[Job]:
    other = jobs.alias()
    lane_taken = exists().where(other.c.lane == jobs.c.lane, other.c.status == "running")
    free = (
        select(jobs.c.id)
        .where(among(tx, jobs.c.id, job_ids), jobs.c.status == "queued", jobs.c.lane.is_not(None), ~lane_taken)
        .order_by(jobs.c.id)
        .with_for_update(skip_locked=True)
    )
    values = {
        "status": "running",
        "attempt": jobs.c.attempt + 1,
        "owner": owner,
        "task_id": task_id,
        "lease_until": now + lease_s,
        "started_at": now,
        "next_publish_at": None,
        "deadline_at": None,
    }
    statement = update(jobs).where(jobs.c.id.in_(free.scalar_subquery())).values(values).returning(*SEEN)
    try:
        with tx.begin_nested():
            return [job_of(row) for row in tx.execute(statement)]
    except IntegrityError:  # two workers took jobs of one lane at once: the unique index let one of them through
        return []
