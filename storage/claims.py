"""Who takes which jobs: what waits is claimed by one worker at a time, and in a lane one job at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from storage.dialects import columns, fetch, is_lite
from storage.jobs import SEEN_SQL, Job
from storage.ledger import QUARANTINE


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


SERVING = (  # a `Served` for every model
    "SELECT name AS model, champion, updated_at AS declared_at, version AS canary FROM models"
    " LEFT JOIN trials ON trials.model = name AND mode = 'canary'"
)
# `status || ''`: by id. PostgreSQL, in whose plan there may be no queued jobs, would walk through the index of all that were
_NAMED = (
    "WITH named AS MATERIALIZED (SELECT id, model, queue, artifact IS NULL AS small FROM jobs"
    " WHERE id {among} AND status || '' = 'queued')"
)
_FOUND = (
    "SELECT * FROM named UNION SELECT * FROM (SELECT id, model, queue, artifact IS NULL FROM jobs"
    " WHERE status = 'queued' AND queue = ? AND deadline_at IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM named WHERE queue = '<quarantine>') ORDER BY id LIMIT ?) AS companions"
).replace("<quarantine>", QUARANTINE)
_WAITING = f"{_NAMED} {_FOUND} ORDER BY 1"


def waiting(tx: Connection, job_ids: Sequence[str], queue: str, most: int) -> list[Queued]:
    """Those of the jobs that wait, and their companions: the oldest of a queue that could be claimed now. Oldest first.

    Whoever works anyway may take companions along; but who may be dangerous travels alone.
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
    "<named>, found AS (<found>), known AS (SELECT * FROM unnest(%b::text[], %b::text[], %b::double precision[], %b::text[])"
    " AS _ (model, champion, declared_at, canary)),"
    " served AS (SELECT model FROM known JOIN (<serving>) AS now USING (model, champion, declared_at)"
    " WHERE known.canary IS NOT DISTINCT FROM now.canary),"
    " taken AS (<run> = ANY(ARRAY(SELECT id FROM jobs"
    " WHERE id = ANY(ARRAY(SELECT id FROM found WHERE small AND model IN (SELECT model FROM served)))"
    " AND status || '' = 'queued' AND lane IS NULL ORDER BY id {lock_free})) RETURNING <job>)"
    " SELECT <job> FROM taken UNION ALL SELECT <job> FROM jobs"
    " WHERE id = ANY(ARRAY(SELECT id FROM named WHERE id NOT IN (SELECT id FROM taken))) ORDER BY id"
)
_TAKE = (
    _TAKE.replace("<named>", _NAMED)
    .replace("<found>", _FOUND)
    .replace("<serving>", SERVING)
    .replace("<run>", _RUN)
    .replace("<job>", SEEN_SQL)
)


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

    Returns what was claimed, and what waits still of the jobs that were named, each oldest first. To PostgreSQL that is one
    round trip, not three. SQLite, to which a statement more is no journey, leaves all of it waiting, companions too.
    """
    if is_lite(tx) or not known:
        return [], waiting(tx, job_ids, queue, most)
    found = fetch(tx, _TAKE, list(job_ids), queue, most, *columns(known, 4), owner, task_id, now + lease_s, now)
    rows = [Job(*row) for row in found]
    still = [Queued(job.id, job.model, job.queue, job.artifact is None) for job in rows if job.status == "queued"]
    return [job for job in rows if job.status == "running"], still


_CLAIM_IN_LANES = (
    "<run> IN (SELECT id FROM jobs WHERE id {among} AND status || '' = 'queued' AND lane IS NOT NULL AND NOT EXISTS"
    " (SELECT 1 FROM jobs AS other WHERE other.lane = jobs.lane AND other.status = 'running' AND other.lane IS NOT NULL)"
    " ORDER BY id {lock_free}) RETURNING <job>"
)
_CLAIM_IN_LANES = _CLAIM_IN_LANES.replace("<run>", _RUN).replace("<job>", SEEN_SQL)


def _claim_in_lanes(tx: Connection, job_ids: Sequence[str], owner: str, task_id: str, now: float, lease_s: float) -> list[Job]:
    try:
        with tx.begin_nested():
            return [Job(*row) for row in fetch(tx, _CLAIM_IN_LANES, owner, task_id, now + lease_s, now, list(job_ids))]
    except IntegrityError:  # two workers took jobs of one lane at once: the unique index let one of them through
        return []
