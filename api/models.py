"""Models: what is declared, which versions there are, what was checked and decided, and the way back."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Response

from api import bodies
from api.accepting import accept, digest_of, new_job
from api.asking import asked, page_of_query
from api.auditing import act
from api.auth import caller
from api.bodies import JSON
from api.envelope import current_request_id
from api.errors import Fault, Refused, unfit
from api.house import house
from api.notifications import news
from api.routes import ANY, PAGE, ListOf, Routes
from api.status import StatusView, status_of
from api.views import (
    DecisionView,
    JobView,
    ModelView,
    VersionView,
    answer,
    answer_page,
    check_view,
    decision_view,
    model_view,
    version_view,
)
from problems.declaration import MODEL_NAME, InvalidProblem, Problem, declared, parse_problem
from problems.loop import missing
from storage import audit, champions, checks, decisions, incidents, jobs, models, trials, versions
from storage.champions import NothingToRollBack
from storage.models import MeaningChanged, Model

routes = Routes("models")


def _interval() -> float:
    return house().settings.check_interval_seconds


def _named(name: str) -> Model:
    return house().models.read(name).model


@routes.on("GET", "/models", "viewer", "List models.", answers={200: ListOf("models", ModelView)}, query=PAGE)
def list_models() -> Response:
    limit, cursor = page_of_query()
    with house().database.read() as tx:
        page = models.listed(tx, limit, cursor)
    return answer_page("models", page, lambda model: model_view(model, _interval()))


@routes.on("GET", "/models/{name}", "viewer", "One model.", answers={200: ModelView}, refusals=(404,))
def get_model(name: str) -> Response:
    return answer(model_view(_named(name), _interval()))


class ProblemBody(msgspec.Struct, forbid_unknown_fields=True):
    """A declared problem; each feature's type is number, category, boolean or text, with ? if it may be missing."""

    task: str
    label: str
    metric: str
    estimator: str
    features: dict[str, str]
    threshold: float | None = None
    estimator_args: dict[str, Any] = {}
    scale: bool = True
    ignore: list[str] = []
    interval_s: float | None = None
    cooldown_rows: int = 100
    detector: str = "esr"
    recall: bool = False
    trial: str | None = None
    canary_share: float = 0.1
    trial_days: float = 7.0


@routes.on(
    "PUT",
    "/models/{name}",
    "operator",
    "Declare a model, or change one.",
    bodies={JSON: ProblemBody},
    answers={201: ModelView, 200: ModelView},
    refusals=(409,),
)
def put_model(name: str) -> Response:
    bodies.media_type(JSON)
    problem = _checked(name, bodies.decode(bodies.read()))
    parts = house()
    try:
        with parts.database.begin() as tx:
            created = models.declare(tx, name, declared(problem), problem.source, parts.clock())
            audit.add(tx, act("declare" if created else "change", f"model {name}"))
    except MeaningChanged as changed:
        raise Refused(409, f"{changed}") from None
    parts.models.forget(name)
    return answer(model_view(_named(name), _interval()), 201 if created else 200)


def _checked(name: str, given: object) -> Problem:
    """The problem, after a look at its form here and at its estimator in a child process."""
    if not MODEL_NAME.fullmatch(name):
        raise unfit([Fault(("name",), "expected 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit")])
    try:
        problem = parse_problem(name, given)
    except InvalidProblem as wrong:
        raise unfit([Fault(loc, msg) for loc, msg in wrong.errors]) from None
    lacks = missing(problem.loop)
    if lacks:
        raise unfit([Fault(("detector",), lacks)])
    faults = house().inspector.faults(problem)
    if faults:
        raise unfit(faults)
    return problem


@routes.on(
    "GET",
    "/models/{name}/versions",
    "viewer",
    "A model's versions, newest first.",
    answers={200: ListOf("versions", VersionView)},
    query=PAGE,
    refusals=(404,),
)
def list_versions(name: str) -> Response:
    limit, cursor = page_of_query()
    champion = _named(name).champion
    with house().database.read() as tx:
        page, challenger = versions.listed(tx, name, limit, cursor), trials.challengers(tx).get(name)
    return answer_page("versions", page, lambda version: version_view(version, champion, challenger))


@routes.on(
    "GET",
    "/models/{name}/checks",
    "viewer",
    "A model's drift checks, newest first.",
    answers={200: ListOf("checks", ANY)},
    query=PAGE,
    refusals=(404,),
)
def list_checks(name: str) -> Response:
    limit, cursor = page_of_query()
    _named(name)
    with house().database.read() as tx:
        return answer_page("checks", checks.listed(tx, name, limit, cursor), check_view)


@routes.on(
    "GET",
    "/models/{name}/decisions",
    "viewer",
    "What was decided about a model and why, newest first.",
    answers={200: ListOf("decisions", DecisionView)},
    query=PAGE,
    refusals=(404,),
)
def list_decisions(name: str) -> Response:
    limit, cursor = page_of_query()
    _named(name)
    with house().database.read() as tx:
        return answer_page("decisions", decisions.listed(tx, name, limit, cursor), decision_view)


@routes.on(
    "POST",
    "/models/{name}/checks",
    "operator",
    "Check a model for drift now.",
    answers={202: JobView, 200: JobView},
    refusals=(404,),
    makes_job=True,
)
def post_check(name: str) -> Response:
    how, body = asked(), bodies.read_nothing()
    model = house().models.get(name).model
    house().front.room()
    return accept(new_job("check", model.name), how, digest_of(body))


@routes.on(
    "POST",
    "/models/{name}/rollback",
    "admin",
    "Let the version serve again that the champion replaced.",
    answers={200: StatusView},
    refusals=(404, 409),
)
def roll_back(name: str) -> Response:
    parts, now = house(), house().clock()
    _named(name)
    with parts.database.begin() as tx:
        try:
            decision = champions.roll_back(tx, name, f"token '{caller().name}'", now)
        except NothingToRollBack as nothing:
            raise Refused(409, f"{nothing}.") from None
        title, line = f"'{name}' was rolled back", decision.reason
        where = incidents.where_to_tell(tx, name, f"rollback:{decision.id}")
        told = [news(incidents.tell(tx, key, name, "warning", state, title, [line], now), name) for key, state in where]
        jobs.add(tx, told)
        audit.add(tx, act("rollback", f"model {name}", f"to version {decision.version}"))
    parts.bell.ring([(each.queue, "notify", each.id) for each in told], current_request_id())
    parts.models.forget(name)
    return answer(status_of(_named(name)))
