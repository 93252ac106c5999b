"""Challengers on trial: how one stands, what it would have answered, and how a person stops it."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Response

from api.auditing import act
from api.auth import caller
from api.envelope import current_request_id
from api.errors import Refused, not_found
from api.house import house
from api.jobs import checked
from api.notifications import news
from api.routes import Routes
from api.status import StatusView, status_of
from api.views import Moment, answer, moment
from storage import audit, champions, incidents, jobs, shadows
from storage.champions import NoTrial

routes = Routes("trials")


class ShadowView(msgspec.Struct):
    """What a challenger in shadow would have answered to a job; `agreed`: how many rows the champion answers alike."""

    job_id: str
    model: str
    version: str
    rows: int
    agreed: int
    predictions: Any
    created_at: Moment


@routes.on(
    "GET",
    "/jobs/{id}/shadow",
    "operator",
    "What a challenger in shadow would have answered.",
    answers={200: ShadowView},
    refusals=(404,),
)
def get_shadow(id_: str) -> Response:
    with house().database.read() as tx:
        found = shadows.get(tx, checked(id_))
    if found is None:
        raise not_found(f"A shadow of job {id_}")
    at = str(moment(found.created_at))
    predictions = msgspec.Raw(found.answers.encode())
    return answer(ShadowView(found.job_id, found.model, found.version, found.rows, found.agreed, predictions, at))


@routes.on(
    "DELETE",
    "/models/{name}/trial",
    "admin",
    "Reject the challenger on trial; the champion answers everything again.",
    answers={200: StatusView},
    refusals=(404, 409),
)
def stop_trial(name: str) -> Response:
    parts, now = house(), house().clock()
    parts.models.read(name)
    with parts.database.begin() as tx:
        try:
            decision, trial = champions.stop_trial(tx, name, f"token '{caller().name}'", now)
        except NoTrial as none:
            raise Refused(409, f"{none}.") from None
        title = f"{name}: the trial of version {trial.version} was stopped"
        told = news(incidents.tell(tx, trial.incident, name, "warning", "resolved", title, [decision.reason], now), name)
        jobs.add(tx, [told])
        audit.add(tx, act("stop", f"model {name}", f"the trial of version {trial.version}"))
    parts.bell.ring([(told.queue, "notify", told.id)], current_request_id())
    return answer(status_of(parts.models.read(name).model))
