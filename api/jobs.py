"""GET /jobs, one job, its events, its end by request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import get_args

import msgspec
from flask import Response, request

from api.asking import choice_of_query, page_of_query, wait_of_query
from api.auditing import act
from api.errors import Refused, busy, not_found
from api.house import House, house
from api.routes import PAGE, ListOf, Media, Query, Routes
from api.views import JobView, answer, answer_page, job_view
from jobs.kinds import KINDS
from jobs.messages import JOB_ID
from problems.declaration import MODEL_NAME
from storage import audit, jobs
from storage.jobs import TERMINAL, Job, Status
from storage.pages import Page

STATUSES = get_args(Status)
LOOK_S = 0.25  # between two looks at a job for its progress
COMMENT_S = 15.0  # a silent event stream says so often that it is alive
routes = Routes("jobs")


def checked(identifier: str, what: str = "This job") -> str:
    """The id, if it could be one.

    Raises:
        Refused: 404, it never was.
    """
    if not JOB_ID.fullmatch(identifier):
        raise not_found(what)
    return identifier


def job_of(job_id: str) -> Job:
    """The job.

    Raises:
        Refused: 404, it was never accepted.
    """
    with house().database.read() as tx:
        job = jobs.get(tx, checked(job_id))
    if job is None:
        raise not_found(f"Job {job_id}")
    return job


@routes.on(
    "GET",
    "/jobs",
    "viewer",
    "List jobs, newest first.",
    answers={200: ListOf("jobs", JobView)},
    query=(
        Query("kind", {"enum": list(KINDS)}),
        Query("status", {"enum": list(STATUSES)}),
        Query("model", {"type": "string"}),
        *PAGE,
    ),
)
def list_jobs() -> Response:
    limit, cursor = page_of_query()
    kind, status = choice_of_query("kind", KINDS), choice_of_query("status", STATUSES)
    model = request.args.get("model")
    if model is not None and not MODEL_NAME.fullmatch(model):
        return answer_page("jobs", Page[Job]([], None), job_view)
    with house().database.read() as tx:
        return answer_page("jobs", jobs.listed(tx, kind, status, model, limit, cursor), job_view)


@routes.on(
    "GET",
    "/jobs/{id}",
    "viewer",
    "One job, at once or when it has ended.",
    answers={200: JobView},
    query=(Query("wait", {"type": "number", "minimum": 0, "maximum": 60, "default": 0}, "Seconds to wait for its end."),),
    refusals=(404,),
)
def get_job(id_: str) -> Response:
    seconds, parts = wait_of_query(), house()
    if not seconds or not parts.waiting.enter():
        return answer(job_view(job_of(id_)))
    try:
        with parts.waiting.watching(checked(id_)) as watch:
            job = watch.until_end(seconds)
    finally:
        parts.waiting.leave()
    if job is None:
        raise not_found(f"Job {id_}")
    return answer(job_view(job))


@routes.on("DELETE", "/jobs/{id}", "client", "Cancel a job.", answers={202: JobView}, refusals=(404, 409))
def cancel_job(id_: str) -> Response:
    parts = house()
    with parts.database.begin() as tx:
        became = jobs.cancel(tx, checked(id_), parts.clock())
        if became == "cancelled":
            audit.add(tx, act("cancel", f"job {id_}"))
    if became == "unknown":
        raise not_found(f"Job {id_}")
    job = job_of(id_)
    if became == "terminal":
        raise Refused(409, f"The job has ended already: it is {job.status}.")
    parts.waiting.ended([id_])
    return answer(job_view(job), 202)


@routes.on(
    "GET",
    "/jobs/{id}/events",
    "viewer",
    "Follow a job: one server-sent event for each change, the job as it is now first.",
    answers={200: Media(("text/event-stream",))},
    refusals=(404,),
)
def follow_job(id_: str) -> Response:
    job, parts = job_of(id_), house()
    if not parts.waiting.enter():
        raise busy(503, "Too many requests wait already.", 2)
    stream = Response(_events(parts, job), content_type="text/event-stream; charset=utf-8")
    stream.headers["Cache-Control"] = "no-store"
    stream.call_on_close(parts.waiting.leave)
    return stream


def _events(parts: House, job: Job) -> Iterator[bytes]:
    seen, spoke_at = b"", time.monotonic()
    with parts.waiting.watching(job.id) as watch:
        while True:
            view = msgspec.json.encode(job_view(job))
            if view != seen:
                seen, spoke_at = view, time.monotonic()
                yield b"data: " + view + b"\n\n"
            elif time.monotonic() - spoke_at > COMMENT_S:
                spoke_at = time.monotonic()
                yield b": still here\n\n"
            if job.status in TERMINAL or watch.closed:
                return
            job = watch.glance(LOOK_S) or job
