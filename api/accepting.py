"""From a checked request to its 202: every POST that makes a job ends here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from flask import Response, request

from api.asking import Asked
from api.auditing import act
from api.auth import caller
from api.envelope import current_request_id
from api.errors import Refused, log
from api.front import Accepted
from api.house import house
from api.views import JobView, answer, job_view, queued_view
from jobs.kinds import POLICIES, Kind, lane
from storage import audit, jobs
from storage.database import FAULTS
from storage.idempotency import Key
from storage.ids import new_id
from storage.jobs import TERMINAL, Job, NewJob

AUDITED = {"generate": "generate", "ingest": "upload", "check": "check", "notify": "test"}  # kinds of jobs, as acts of people


def new_job(
    kind: Kind,
    model: str,
    payload: bytes | None = None,
    artifact: str | None = None,
    queue: str | None = None,
    job_id: str | None = None,
) -> NewJob:
    """A job of this request, on its kind's queue unless another is named."""
    parts = house()
    return NewJob(
        job_id or new_id(parts.clock()),
        kind,
        model,
        queue or POLICIES[kind].queue,
        parts.settings.max_attempts,
        payload,
        artifact,
        lane=lane(kind, model),
        request_id=current_request_id(),
    )


def digest_of(*parts: bytes) -> str:
    """What an Idempotency-Key is bound to: query, media type, body."""
    digest = hashlib.sha256()
    for part in (request.query_string, request.mimetype.encode(), *parts):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def accept(new: NewJob, asked: Asked, digest: str) -> Response:
    """Record the job and answer: 202, or 200 with the job at its end if the client waits and it ends in time.

    Args:
        digest: of the body, as `digest_of` gives it; unused without a key.
    """
    parts = house()
    key = None
    if asked.key is not None:
        key = Key(caller().token_id, request.path, asked.key, digest, new.id, new.created_at)
    if not asked.wait_s or not parts.waiting.enter():
        accepted = _accepted(new, key)
        return _answer(new, accepted, None)
    try:
        with parts.waiting.watching(new.id) as watch:
            accepted = _accepted(new, key)
            job = None if accepted.replayed else watch.until_end(asked.wait_s, looked=True)
        if accepted.replayed:
            with parts.waiting.watching(accepted.job_id) as watch:
                job = watch.until_end(asked.wait_s)
    finally:
        parts.waiting.leave()
    return _answer(new, accepted, job)


@contextmanager
def files_of(job_id: str) -> Iterator[None]:
    """Around the recording of a job that has files of its own: they go again, unless the ledger has the job or does not say.

    A fault is no proof that it has not: what met it may have come after the commit.
    """
    try:
        yield
    finally:
        if not _may_be_recorded(job_id):
            house().artifacts.remove(f"bodies/{job_id}")


def _may_be_recorded(job_id: str) -> bool:
    try:
        with house().database.read() as tx:
            return jobs.get(tx, job_id) is not None
    except FAULTS as fault:
        log.warning("whether job %s is recorded is not known, so that its files stay: %s", job_id, type(fault).__name__)
        return True


def _accepted(new: NewJob, key: Key | None) -> Accepted:
    """Recorded, and in the audit log if it changes more than itself; the front's transaction is many requests' together."""
    parts = house()
    accepted = parts.front.accept(new, key)
    if new.kind in AUDITED and not accepted.replayed:
        with parts.database.begin() as tx:
            audit.add(tx, act(AUDITED[new.kind], f"job {new.id}", f"model {new.model}" if new.model != "-" else ""))
    return accepted


def _answer(new: NewJob, accepted: Accepted, job: Job | None) -> Response:
    headers = {"Idempotent-Replayed": "true"} if accepted.replayed else {}
    if accepted.replayed and job is None:
        with house().database.read() as tx:
            job = jobs.get(tx, accepted.job_id)
        if job is None:
            raise Refused(410, "The job of this Idempotency-Key is no longer kept (RETENTION_DAYS): post with another key.")
    if job is not None and job.status in TERMINAL:
        return answer(job_view(job), 200, headers)
    return answer_accepted(job_view(job) if job is not None else queued_view(new), headers)


def answer_accepted(view: JobView, headers: Mapping[str, str]) -> Response:
    """202: where to look, and when."""
    return answer(view, 202, {"Location": view.links.self, "Retry-After": "1", **headers})
