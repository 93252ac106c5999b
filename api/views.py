"""What answers look like: one struct per noun, which is also its schema in openapi.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, TypeVar

import msgspec
from flask import Response

from problems.loop import warnings
from storage.audit import Act
from storage.checks import Check
from storage.datasets import Dataset
from storage.decisions import Decision
from storage.incidents import Incident
from storage.jobs import Job, NewJob
from storage.models import Model
from storage.pages import Page
from storage.tokens import Token
from storage.versions import Version

T = TypeVar("T")
JSON = "application/json"
NULL = msgspec.Raw(b"null")
Moment = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


def moment(at: float | None) -> str | None:
    """Epoch seconds as RFC 3339 in UTC, to the millisecond; None stays None."""
    return None if at is None else _moment(at)


def _moment(at: float) -> str:
    second, millis = divmod(int(1000 * at + 0.0005), 1000)  # a float may lie a little before the millisecond that it stands for
    return f"{_second(second)}.{millis:03d}Z"


@lru_cache(maxsize=64)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat()


def _raw(text: str | None) -> msgspec.Raw:
    return NULL if text is None else msgspec.Raw(text.encode())


class Links(msgspec.Struct):
    """Where a job is found."""

    self: str
    result: str
    events: str


class JobView(msgspec.Struct):
    """A job."""

    id: str
    task_id: str | None
    kind: str
    model: str
    status: str
    attempt: int
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    progress: float | None
    result: msgspec.Raw
    error: msgspec.Raw
    links: Links


def links(job_id: str) -> Links:
    """The links of a job."""
    here = f"/jobs/{job_id}"
    return Links(here, f"{here}/result", f"{here}/events")


def job_view(job: Job) -> JobView:
    """A job as clients see it."""
    return JobView(
        job.id,
        job.task_id,
        job.kind,
        job.model,
        job.status,
        job.attempt,
        _moment(job.created_at),
        moment(job.started_at),
        moment(job.finished_at),
        job.progress,
        _raw(job.result),
        _raw(job.error),
        links(job.id),
    )


def queued_view(new: NewJob) -> JobView:
    """A job as it was committed, without asking for it."""
    created = _moment(new.created_at)
    return JobView(new.id, None, new.kind, new.model, "queued", 0, created, None, None, None, NULL, NULL, links(new.id))


class DatasetView(msgspec.Struct):
    """Labelled rows that arrived as a table, or were generated."""

    id: str
    model: str
    rows: int
    rejected: int
    source: str
    report: Mapping[str, Any]
    created_at: Moment
    job_id: str


def dataset_view(dataset: Dataset) -> DatasetView:
    """A dataset as clients see it."""
    d = dataset
    return DatasetView(d.id, d.model, d.rows, d.rejected, d.source, d.report, _moment(d.created_at), d.job_id)


class ModelView(msgspec.Struct):
    """A model: what was declared, what to know about that, and which version serves."""

    name: str
    schema: Mapping[str, Any]
    estimator: Mapping[str, Any]
    champion: str | None
    settings: Mapping[str, Any]
    warnings: Sequence[str]
    source: str
    rows: int
    created_at: Moment
    updated_at: Moment


def model_view(model: Model, interval_s: float) -> ModelView:
    """A model as clients see it; all models are looked at each `interval_s` seconds."""
    told = model.declared
    schema = {key: told[key] for key in ("task", "label", "features", "ignore")} | {"classes": model.classes}
    estimator = {"name": told["estimator"], "args": told["estimator_args"], "scale": told["scale"]}
    loop = model.problem.loop
    settings = {"metric": told["metric"], "threshold": told["threshold"], **asdict(loop)}
    settings["interval_s"] = model.interval_s(interval_s)
    source = "declared" if model.source == "declared" else model.source.rsplit("/", 1)[-1]
    times = _moment(model.created_at), _moment(model.updated_at)
    return ModelView(model.name, schema, estimator, model.champion, settings, warnings(loop), source, model.rows, *times)


class VersionView(msgspec.Struct):
    """A trained version; `data` is its lineage. Since `pruned_at` its file is no longer kept, and it can serve no more."""

    version: str
    metrics: Mapping[str, Any]
    data: Mapping[str, Any]
    aliases: Sequence[str]
    created_at: Moment
    job_id: str
    pruned_at: Moment | None


def version_view(version: Version, champion: str | None, challenger: str | None) -> VersionView:
    """A version as clients see it."""
    aliases = [alias for alias, name in (("champion", champion), ("challenger", challenger)) if name == version.name]
    return VersionView(
        version=version.name,
        metrics=version.metrics,
        data=version.data,
        aliases=aliases,
        created_at=_moment(version.created_at),
        job_id=version.job_id,
        pruned_at=moment(version.pruned_at),
    )


def check_view(check: Check) -> dict[str, Any]:
    """A check as clients see it: its result, and which one it was."""
    return {**check.result, "id": check.id, "job_id": check.job_id, "created_at": _moment(check.created_at)}


class DecisionView(msgspec.Struct):
    """A training, promotion, rejection or rollback, with its reason."""

    id: str
    created_at: Moment
    action: str
    version: str | None
    from_version: str | None
    reason: str
    job_id: str | None
    evidence: Mapping[str, Any]


def decision_view(decision: Decision) -> DecisionView:
    """A decision as clients see it."""
    d = decision
    return DecisionView(d.id, _moment(d.created_at), d.action, d.version, d.from_version, d.reason, d.job_id, d.evidence)


class TokenView(msgspec.Struct):
    """A token, without its secret."""

    id: str
    name: str
    role: str
    created_at: Moment
    expires_at: Moment | None


def token_view(token: Token) -> TokenView:
    """A token as clients see it."""
    return TokenView(token.id, token.name, token.role, _moment(token.created_at), moment(token.expires_at))


class ActView(msgspec.Struct):
    """A change that somebody asked for: who, what, on what, from which address, by which request."""

    id: str
    at: Moment
    token_id: str
    token_name: str
    role: str
    action: str
    subject: str
    detail: str
    address: str
    request_id: str


def act_view(act: Act) -> ActView:
    """An act as admins see it."""
    a, who = act, (act.token_id, act.token_name, act.role)
    return ActView(a.id, _moment(a.at), *who, a.action, a.subject, a.detail, a.address, a.request_id)


class IncidentView(msgspec.Struct):
    """Something people were told; `lines` is its timeline, oldest first."""

    id: str
    model: str | None
    kind: str
    state: str
    title: str
    lines: Sequence[str]
    opened_at: Moment
    updated_at: Moment


def incident_view(incident: Incident) -> IncidentView:
    """An incident as clients see it."""
    i = incident
    return IncidentView(i.id, i.model, i.kind, i.state, i.title, i.lines, _moment(i.opened_at), _moment(i.updated_at))


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer; NaN and infinities become null."""
    return Response(msgspec.json.encode(value), status, headers, content_type=JSON)


def answer_page(noun: str, page: Page[T], view: Callable[[T], object]) -> Response:
    """A list: its entries under `noun`, and the cursor of the next page."""
    return answer({noun: [view(entry) for entry in page.entries], "next_cursor": page.next_cursor})
