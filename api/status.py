"""How things are, for anyone: /health, /livez, /model-status, /metrics; and what people were told, for viewers."""

from __future__ import annotations

import hmac
import math
from collections.abc import Mapping
from typing import Any

import msgspec
from flask import Response, request

from api import health
from api.asking import page_of_query
from api.errors import Refused
from api.front import FLOOR_BYTES
from api.health import Component
from api.house import house
from api.routes import ANY, MODEL, PAGE, ListOf, Media, Routes
from api.verified import hash_of
from api.views import IncidentView, Moment, answer, answer_page, incident_view, moment
from problems.loop import Loop
from settings import VERSION
from storage import checks, incidents, jobs, trials
from storage.models import Model
from storage.trials import Trial
from telemetry import metrics

routes = Routes("status")


class HealthView(msgspec.Struct):
    """`ok` when every component is; `degraded` otherwise."""

    status: str
    version: str
    components: Mapping[str, Component]


@routes.on(
    "GET",
    "/health",
    None,
    "How the parts are; 503 if no job can be accepted.",
    answers={200: HealthView, 503: HealthView},
)
def get_health() -> Response:
    parts = house()
    found = health.components(parts.database, parts.pulse, parts.clock())
    free = parts.artifacts.free_bytes()
    if free < FLOOR_BYTES:
        found["disk"] = Component("down", f"{free >> 20} MiB free, {FLOOR_BYTES >> 20} MiB needed; nothing is accepted.")
    shut = any(found[name].status == "down" for name in ("database", "disk") if name in found)
    fine = all(part.status == "ok" for part in found.values())
    return answer(HealthView("ok" if fine else "degraded", VERSION, found), 503 if shut else 200)


@routes.on("GET", "/livez", None, "200 while the process serves.", answers={200: ANY})
def livez() -> Response:
    return answer({"status": "ok"})


class Automation(msgspec.Struct):
    """When the loop looks again."""

    interval_s: float
    next_check_at: Moment


class TrialView(msgspec.Struct):
    """A challenger on trial beside the champion.

    `share` of the jobs is answered by a canary; of the rows `answered` in shadow the champion answers `agreed` alike.
    `figures`: labelled rows compared, and the evidence that it is better, and worse; `limit` of it is proof.
    """

    version: str
    mode: str
    share: float
    since: Moment
    until: Moment
    figures: Mapping[str, Any]
    answered: int
    agreed: int


class StatusView(msgspec.Struct):
    """How a model is; the last three fields are the older system's.

    `estimate`: the metric by the model's own confidence, where the last check saw no labels. `labels`: of the last days'
    predictions, how many are labelled, and how late labels come; as of the last check.
    `trial`: the challenger on trial, and how it stands.
    """

    model: str
    version: str | None
    performance: float | None
    threshold: float
    state: str
    last_check_at: Moment | None
    last_trained_at: Moment | None
    automation: Automation
    estimate: Mapping[str, Any] | None
    labels: Mapping[str, Any] | None
    trial: TrialView | None
    model_trained: bool
    needs_retraining: bool
    automation_note: str


def status_of(model: Model) -> StatusView:
    """The model's status now."""
    parts, now = house(), house().clock()
    every = model.interval_s(parts.settings.check_interval_seconds)
    with parts.database.read() as tx:
        training = jobs.open_job(tx, "train", model.name) is not None
        last = checks.last(tx, model.name)
        trial = trials.get(tx, model.name)
    busy = "retraining" if training else "drifting" if model.drifting else "healthy"
    state = "no_model" if model.champion is None else busy
    return StatusView(
        model.name,
        model.champion,
        model.performance,
        model.declared["threshold"],
        state,
        moment(model.last_check_at),
        moment(model.last_trained_at),
        Automation(every, str(moment((math.floor(now / every) + 1) * every))),
        last.result.get("estimate") if last else None,
        last.result.get("labels") if last else None,
        _trial_view(trial, model.problem.loop) if trial else None,
        model.champion is not None,
        state in ("drifting", "retraining"),
        f"Checked every {every:g} s; retraining is automatic, never a manual act.",
    )


def _trial_view(trial: Trial, loop: Loop) -> TrialView:
    share = loop.canary_share if trial.mode == loop.trial == "canary" else 0.0
    times = str(moment(trial.began_at)), str(moment(trial.began_at + loop.trial_days * 86_400))
    return TrialView(trial.version, trial.mode, share, *times, trial.figures, trial.answered, trial.agreed)


@routes.on("GET", "/model-status", None, "How a model is.", answers={200: StatusView}, query=(MODEL,), refusals=(404, 503))
def model_status() -> Response:
    return answer(status_of(house().models.read(request.args.get("model", "default")).model))


@routes.on(
    "GET",
    "/incidents",
    "viewer",
    "What people were told, newest first.",
    answers={200: ListOf("incidents", IncidentView)},
    query=PAGE,
)
def list_incidents() -> Response:
    limit, cursor = page_of_query()
    with house().database.read() as tx:
        return answer_page("incidents", incidents.listed(tx, limit, cursor), incident_view)


@routes.on("GET", "/metrics", None, "Prometheus text; METRICS_TOKEN may close it.", answers={200: Media(("text/plain",))})
def get_metrics() -> Response:
    token = house().settings.metrics_token
    given = request.headers.get("Authorization", "")
    if token is not None and not hmac.compare_digest(hash_of(given), hash_of(f"Bearer {token.get_secret_value()}")):
        raise Refused(401, "Expected METRICS_TOKEN as a bearer token.", headers={"WWW-Authenticate": "Bearer"})
    return Response(metrics.render(house().metrics.registry), content_type=metrics.CONTENT_TYPE)
