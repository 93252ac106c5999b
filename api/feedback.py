"""Feedback: labels that come back, by prediction or for a whole job; all of a request or none of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from flask import Response, request

from api import bodies
from api.bodies import JSON
from api.errors import Fault, Refused, unfit, unprocessable
from api.house import house
from api.jobs import job_of
from api.routes import ListOf, Query, Routes
from api.views import Moment, answer, moment
from jobs.messages import JOB_ID
from problems.labels import InvalidLabel, parse_label
from storage import labels, predictions
from storage.labels import Key
from storage.predictions import Size

MOST_FAULTS = 100
ROW = re.compile(r"0|[1-9][0-9]{0,11}", re.ASCII)
routes = Routes("feedback")


class LabelOf(msgspec.Struct, forbid_unknown_fields=True):
    """One label and the prediction that it belongs to."""

    prediction_id: str
    label: Any


class FeedbackBody(msgspec.Struct, forbid_unknown_fields=True):
    """Labels, each with its prediction's id; or a job's id and the labels of its first rows, in order."""

    labels: list[Any]
    job_id: str | None = None


class FeedbackView(msgspec.Struct):
    """`accepted`: stored, first or changed; `duplicate`: equal to the one stored; `unknown`: ids of no prediction, in order."""

    accepted: int
    unknown: list[str]
    duplicate: int


Given = list[tuple[int, Key, object]]  # (place in the request, row of a logged prediction, label)


@routes.on(
    "POST",
    "/feedback",
    "client",
    "Send labels.",
    bodies={JSON: FeedbackBody},
    answers={200: FeedbackView},
    refusals=(404, 409),
)
def post_feedback() -> Response:
    bodies.media_type(JSON)
    body = bodies.decode(bodies.read(), FeedbackBody)
    if body.job_id is None:
        given, unknown, sizes = _by_prediction(bodies.convert(body.labels, list[LabelOf], "labels"))
    else:
        given, unknown, sizes = _by_job(body.job_id, body.labels)
    by_model = _checked(given, sizes)
    accepted = duplicate = 0
    parts = house()
    with parts.database.begin() as tx:
        for model in sorted(by_model):  # always in one order: two requests never wait for each other's locks
            stored = labels.store(tx, model, by_model[model], parts.clock())
            accepted, duplicate = accepted + stored.accepted, duplicate + stored.duplicate
    return answer(FeedbackView(accepted, unknown, duplicate))


def _by_prediction(sent: Sequence[LabelOf]) -> tuple[Given, list[str], Mapping[str, Size]]:
    keys = [_key(each.prediction_id) for each in sent]
    sizes = _sizes(key[0] for key in keys if key is not None)
    given: Given = []
    unknown: list[str] = []
    for place, (each, key) in enumerate(zip(sent, keys, strict=True)):
        if key is not None and key[0] in sizes and key[1] < sizes[key[0]].rows:
            given.append((place, key, each.label))
        else:
            unknown.append(each.prediction_id)
    return given, unknown, sizes


def _key(prediction_id: str) -> Key | None:
    job_id, _, row = prediction_id.partition(":")
    return (job_id, int(row)) if JOB_ID.fullmatch(job_id) and ROW.fullmatch(row) else None


def _by_job(job_id: str, sent: Sequence[Any]) -> tuple[Given, list[str], Mapping[str, Size]]:
    job = job_of(job_id)
    sizes = _sizes([job_id])
    if job_id not in sizes:
        raise Refused(409, f"The {job.kind} job is {job.status}: it has no predictions to label.")
    if len(sent) > sizes[job_id].rows:
        raise unprocessable((("labels",), f"expected at most {sizes[job_id].rows} labels, got {len(sent)}"))
    return [(row, (job_id, row), label) for row, label in enumerate(sent)], [], sizes


def _sizes(job_ids: Iterable[str]) -> Mapping[str, Size]:
    with house().database.read() as tx:
        return predictions.sizes(tx, list(dict.fromkeys(job_ids)))


def _checked(given: Given, sizes: Mapping[str, Size]) -> dict[str, list[tuple[Key, str]]]:
    """The labels by model, in order, as JSON scalars.

    Raises:
        Refused: 422, one is impossible.
    """
    known = {model: house().models.read(model) for model in {size.model for size in sizes.values()}}
    checked: dict[str, list[tuple[Key, str]]] = {}
    faults: list[Fault] = []
    for place, key, value in given:
        of = known[sizes[key[0]].model]
        try:
            label = parse_label(of.problem, value, of.model.classes or ())
        except InvalidLabel as wrong:
            faults.append(Fault(("labels", place, "label"), str(wrong)))
            if len(faults) >= MOST_FAULTS:
                break
        else:
            checked.setdefault(of.model.name, []).append((key, msgspec.json.encode(label).decode()))
    if faults:
        raise unfit(faults)
    return checked


class LabelView(msgspec.Struct):
    """A label as it stands, and those it replaced, oldest first."""

    prediction_id: str
    label: msgspec.Raw
    labelled_at: Moment
    history: list[Mapping[str, Any]]


@routes.on(
    "GET",
    "/feedback",
    "viewer",
    "The labels of a job's predictions.",
    answers={200: ListOf("labels", LabelView, paged=False)},
    query=(Query("job_id", {"type": "string"}),),
    refusals=(404,),
)
def get_feedback() -> Response:
    job_id = request.args.get("job_id")
    if job_id is None:
        raise unprocessable((("job_id",), "is missing"))
    job_of(job_id)
    with house().database.read() as tx:
        stored = labels.of_job(tx, job_id)
    views = [
        LabelView(
            f"{job_id}:{each.row}",
            msgspec.Raw(each.label.encode()),
            str(moment(each.labelled_at)),
            [{"label": msgspec.Raw(label.encode()), "labelled_at": moment(at)} for label, at in each.history],
        )
        for each in stored
    ]
    return answer({"labels": views})
