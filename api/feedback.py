"""Feedback: labels that come back, by prediction or for a whole job; all of a request or none of it. A table is a job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from flask import Response, request

from api import bodies
from api.asking import asked
from api.bodies import ARROW, CSV, JSON, PARQUET
from api.errors import Fault, Refused, unfit, unprocessable
from api.house import house
from api.jobs import job_of
from api.routes import ListOf, Query, Routes
from api.tables import accept_table
from api.views import JobView, Moment, answer, moment
from problems.labels import InvalidLabel, parse_label
from storage import labels, predictions
from storage.labels import Key, key_of
from storage.predictions import Size

MOST_FAULTS = 100
FORMATS = {CSV: "csv", PARQUET: "parquet", ARROW: "arrow"}
SEVERAL = "-"  # the model of a job whose labels may be of several
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
    "Send labels: JSON is stored at once, a table (columns prediction_id and label) by a job.",
    bodies={JSON: FeedbackBody, CSV: None, PARQUET: None, ARROW: None},
    answers={200: FeedbackView, 202: JobView},
    query=(Query("job_id", {"type": "string"}, "Of a table with the columns row and label: whose rows they are."),),
    refusals=(404, 409, 410),
)
def post_feedback() -> Response:
    media = bodies.media_type(JSON, *FORMATS)
    if media != JSON:
        return _accept_table(FORMATS[media])
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
            stored = labels.store(tx, model, by_model[model], parts.clock)
            accepted, duplicate = accepted + stored.accepted, duplicate + stored.duplicate
    return answer(FeedbackView(accepted, unknown, duplicate))


def _accept_table(format_: str) -> Response:
    """A job that stores the labels of the table: an ingest, whose payload says that they are labels."""
    how, job_id, model = asked(), request.args.get("job_id"), SEVERAL
    house().front.room()
    if job_id is not None:
        model = _predicted(job_id)[job_id].model
    return accept_table("ingest", model, format_, {"labels": True, "format": format_, "job_id": job_id}, bodies.chunks(), how)


def _by_prediction(sent: Sequence[LabelOf]) -> tuple[Given, list[str], Mapping[str, Size]]:
    keys = [key_of(each.prediction_id) for each in sent]
    sizes = _sizes(key[0] for key in keys if key is not None)
    given: Given = []
    unknown: list[str] = []
    for place, (each, key) in enumerate(zip(sent, keys, strict=True)):
        if key is not None and key[0] in sizes and key[1] < sizes[key[0]].rows:
            given.append((place, key, each.label))
        else:
            unknown.append(each.prediction_id)
    return given, unknown, sizes


def _by_job(job_id: str, sent: Sequence[Any]) -> tuple[Given, list[str], Mapping[str, Size]]:
    sizes = _predicted(job_id)
    if len(sent) > sizes[job_id].rows:
        raise unprocessable((("labels",), f"expected at most {sizes[job_id].rows} labels, got {len(sent)}"))
    return [(row, (job_id, row), label) for row, label in enumerate(sent)], [], sizes


def _predicted(job_id: str) -> Mapping[str, Size]:
    """The job's predictions.

    Raises:
        Refused: 404, 409 if it has none.
    """
    job, sizes = job_of(job_id), _sizes([job_id])
    if job_id not in sizes:
        raise Refused(409, f"The {job.kind} job is {job.status}: it has no predictions to label.")
    return sizes


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
