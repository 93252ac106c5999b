"""A model over time, for charts: its performance with what happened to it, and its inputs beside those it learnt from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
from flask import Response, request

from api.errors import unprocessable
from api.house import house
from api.routes import Query, Routes
from api.views import Moment, answer, moment
from problems.declaration import METRICS
from storage import checks, decisions, versions
from storage.checks import Check
from storage.database import Database
from storage.decisions import Decision
from storage.versions import Version

DEFAULT_HOURS, MOST_HOURS = 24.0, 24.0 * 366
DEFAULT_POINTS, MOST_POINTS = 240, 1_000
MOST_EVENTS = 500
LOOKED_BACK = 200  # checks among which the newest with enough rows for a comparison is looked for
EventKind = Literal["alarm", "training", "promotion", "rejection", "rollback"]
KIND: Mapping[str, EventKind] = {"train": "training", "promote": "promotion", "reject": "rejection", "rollback": "rollback"}
routes = Routes("timeline")


class Point(msgspec.Struct):
    """What a check said: `performance` over the newest 2,000 labelled rows of the version, `recent` over the newest 200."""

    at: Moment
    version: str | None
    performance: float | None
    recent: float | None
    labels_seen: int
    statistic: float | None
    limit: float | None


class Event(msgspec.Struct):
    """What happened to the model; `decision` is the id of the record."""

    at: Moment
    kind: EventKind
    version: str | None
    text: str
    decision: str


class TimelineView(msgspec.Struct):
    """A model's performance over time, with its events; both oldest first."""

    model: str
    metric: str
    threshold: float
    higher_is_better: bool
    points: Sequence[Point]
    events: Sequence[Event]


def _number(name: str, default: float, least: float, most: float) -> float:
    text = request.args.get(name, f"{default:g}")
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text, re.ASCII) or not least <= float(text) <= most:
        raise unprocessable(((name,), f"expected a number from {least:g} to {most:g}"))
    return float(text)


@routes.on(
    "GET",
    "/models/{name}/timeline",
    "viewer",
    "A model's performance over time, with alarms, trainings, promotions and rollbacks.",
    answers={200: TimelineView},
    query=(
        Query("hours", {"type": "number", "minimum": 0.01, "maximum": MOST_HOURS, "default": DEFAULT_HOURS}, "Up to now."),
        Query("points", {"type": "integer", "minimum": 2, "maximum": MOST_POINTS, "default": DEFAULT_POINTS}, "At most."),
    ),
    refusals=(404,),
)
def get_timeline(name: str) -> Response:
    hours = _number("hours", DEFAULT_HOURS, 0.01, MOST_HOURS)
    points = int(_number("points", DEFAULT_POINTS, 2, MOST_POINTS))
    model, now = house().models.read(name).model, house().clock()
    with house().database.read() as tx:
        first = checks.first_at(tx, name)
        begin = max(now - hours * 3600, first or now)
        found = [each for each in checks.sampled(tx, name, _moments(begin, now, points)) if each.created_at >= begin]
        decided = decisions.since(tx, name, begin, MOST_EVENTS)
    told = METRICS[model.declared["metric"]]
    return answer(
        TimelineView(
            name,
            model.declared["metric"],
            model.declared["threshold"],
            told.higher_is_better,
            [_point(check) for check in found],
            [event for decision in decided for event in _events(decision)],
        )
    )


def _moments(begin: float, end: float, count: int) -> Iterator[float]:
    """`count` moments over (begin, end], the last a little after the end so that what is newest is among them."""
    return (begin + (end - begin) * (n + 1) / count + 0.002 for n in range(count))


def _point(check: Check) -> Point:
    said = check.result
    return Point(
        str(moment(check.created_at)),
        said.get("version"),
        said.get("performance"),
        said.get("recent_performance"),
        said["labels_seen"],
        said.get("statistic"),
        said.get("limit"),
    )


def _events(decision: Decision) -> Iterator[Event]:
    """A decision as it is drawn; the training that answers an alarm is the alarm as well."""
    at, text = str(moment(decision.created_at)), decision.reason
    if decision.answers_alarm:
        yield Event(at, "alarm", decision.from_version, text, decision.id)
    yield Event(at, KIND[decision.action], decision.version, text, decision.id)


class FeatureView(msgspec.Struct):
    """One feature: how far the newest rows are from the reference, and both in the same bins.

    A histogram is `{"edges","counts","missing"}`, the first and the last bin open, or `{"kinds","counts","others"}`;
    everything about the newest rows is null as long as there are fewer than 500 of them.
    """

    feature: str
    type: str
    test: str | None
    distance: float | None
    psi: float | None
    p: float | None
    drifted: bool
    reference: Mapping[str, Any] | None
    current: Mapping[str, Any] | None


class InputsView(msgspec.Struct):
    """A version's inputs beside its reference, the rows that it learnt from."""

    model: str
    version: str | None
    reference_rows: int
    checked_at: Moment | None
    features: Sequence[FeatureView]


@routes.on(
    "GET",
    "/models/{name}/inputs",
    "viewer",
    "The champion's inputs: each feature's newest rows beside those that it learnt from.",
    answers={200: InputsView},
    refusals=(404,),
)
def get_inputs(name: str) -> Response:
    model = house().models.read(name).model
    version, check = _compared(house().database, name, model.champion)
    if version is None:
        return answer(InputsView(name, None, 0, None, []))
    found = {each["feature"]: each for each in check.result["features"]} if check else {}
    types: Mapping[str, str] = version.sketch.get("types", {})
    bins: Mapping[str, Any] = version.sketch.get("bins", {})
    features = [_feature(feature, type_, found.get(feature), bins.get(feature)) for feature, type_ in types.items()]
    rows = version.sketch.get("rows", 0)
    return answer(InputsView(name, version.name, rows, moment(check.created_at) if check else None, features))


def _compared(database: Database, name: str, champion: str | None) -> tuple[Version | None, Check | None]:
    """The champion, and the newest check that compared inputs with its reference."""
    with database.read() as tx:
        version = versions.get(tx, name, champion) if champion else None
        newest = checks.listed(tx, name, LOOKED_BACK, None).entries if version else []
    fitting = (each for each in newest if each.result.get("version") == champion and each.result.get("features"))
    return version, next(fitting, None)


def _feature(name: str, type_: str, found: Mapping[str, Any] | None, bins: Mapping[str, Any] | None) -> FeatureView:
    if found is None:
        return FeatureView(name, type_, None, None, None, None, False, bins, None)
    counted = found.get("histogram")
    fixed = {key: bins[key] for key in ("edges", "kinds") if key in bins} if bins else {}
    current = {**fixed, **counted} if counted else None
    figures = found["test"], found["distance"], found["psi"], found["p"], found["drifted"]
    return FeatureView(name, type_, *figures, bins, current)
