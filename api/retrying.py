"""POST /jobs/{id}/retry: a dead letter, or a job that failed, is posted once more as a new job; the old one stays as it ended."""

from __future__ import annotations

from pathlib import PurePosixPath

from flask import Response

from api.accepting import answer_accepted, files_of
from api.auditing import act
from api.envelope import current_request_id
from api.errors import Refused
from api.house import house
from api.jobs import job_of
from api.routes import Routes
from api.views import JobView, job_view
from jobs.kinds import QUARANTINE
from storage import audit, jobs
from storage.ids import new_id
from storage.jobs import Job, NewJob

BY_ITSELF = {"check", "train"}  # never a manual act: the loop asks for them when the evidence does
routes = Routes("retrying")


@routes.on(
    "POST",
    "/jobs/{id}/retry",
    "operator",
    "Post a dead or failed job once more: a new job with the same input. Asked twice, it is the same new job.",
    answers={202: JobView},
    refusals=(404, 409),
)
def retry_job(id_: str) -> Response:
    parts, old = house(), job_of(id_)
    _may_be_retried(old)
    parts.front.room()
    new = _again(old)
    with files_of(new.id):
        _share_input(old, new)
        with parts.database.begin() as tx:
            fresh = jobs.add(tx, [new])
            made = jobs.of_key(tx, str(new.dedupe_key))
            if fresh:
                audit.add(tx, act("retry", f"job {id_}", f"as job {new.id}"))
    if made is None:
        raise Refused(503, "The retry could not be recorded; ask again.", headers={"Retry-After": "1"})
    if fresh:
        parts.bell.ring([(made.queue, made.kind, made.id)], new.request_id)  # type: ignore[list-item]  # one of Kind's
    return answer_accepted(job_view(made), {} if fresh else {"Idempotent-Replayed": "true"})


def _share_input(old: Job, new: NewJob) -> None:
    """Under the new job's name too: the old one's files go with it, and the new one's are kept for as long as it is."""
    if old.artifact is None or new.artifact is None:
        return
    try:
        house().artifacts.link(old.artifact, new.artifact)
    except FileNotFoundError:
        raise _lost() from None


def _lost() -> Refused:
    return Refused(409, "The job's input is no longer kept.")


def _may_be_retried(old: Job) -> None:
    if old.status not in ("dead", "failed"):
        raise Refused(409, f"The job is {old.status}; only a dead or failed one can be retried.")
    if old.kind in BY_ITSELF:
        raise Refused(409, f"A {old.kind} is never retried by hand: the next check asks for what the evidence calls for.")
    if old.payload is None and old.artifact is None:
        raise _lost()


def _again(old: Job) -> NewJob:
    """The same work under a new id; what took its workers down goes on alone."""
    parts = house()
    job_id = new_id(parts.clock())
    return NewJob(
        job_id,
        old.kind,
        old.model,
        QUARANTINE if old.status == "dead" else old.queue,
        parts.settings.max_attempts,
        old.payload,
        old.artifact and f"bodies/{job_id}/{PurePosixPath(old.artifact).name}",
        dedupe_key=f"retry:{old.id}",
        lane=old.lane,
        request_id=current_request_id(),
    )
