"""Datasets: labelled rows uploaded as a table, and those there are."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Response, request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge

from api import bodies
from api.asking import asked, choice_of_query, page_of_query
from api.bodies import CSV, FORM, PARQUET
from api.errors import Refused, not_found, unprocessable
from api.house import house
from api.jobs import checked
from api.routes import MODEL, PAGE, ListOf, Query, Routes
from api.tables import accept_table
from api.views import DatasetView, JobView, answer, answer_page, dataset_view
from storage import datasets

FORMATS = {CSV: "csv", PARQUET: "parquet"}
ENDINGS = {"csv": "csv", "parquet": "parquet", "pq": "parquet"}
PLACES = ("evidence", "history")
routes = Routes("datasets")
UPLOAD = {
    "type": "object",
    "properties": {"file": {"type": "string", "format": "binary"}, "model": {"type": "string"}},
    "required": ["file"],
}


@routes.on(
    "POST",
    "/datasets",
    "operator",
    "Upload labelled rows, oldest first.",
    bodies={CSV: None, PARQUET: None, FORM: UPLOAD},
    answers={202: JobView, 200: JobView},
    query=(
        MODEL,
        Query("as", {"enum": list(PLACES), "default": "evidence"}, "`history`: older than all other rows, and no evidence."),
    ),
    refusals=(404,),
    makes_job=True,
)
def post_dataset() -> Response:
    how = asked()
    media = bodies.media_type(*FORMATS, FORM)
    place = choice_of_query("as", PLACES)
    house().front.room()
    model = request.args.get("model", "default")
    if media == FORM:
        file, model = _form(model)
        format_, chunks = _format_of(file), _chunks(file)
    else:
        format_, chunks = FORMATS[media], bodies.chunks()
    house().models.get(model)
    told = {"backfill": place == "history", "format": format_}
    return accept_table("ingest", model, format_, told, chunks, how, f"{model} {format_}".encode())


def _form(model: str) -> tuple[FileStorage, str]:
    bodies.announced_length()
    request.max_content_length = bodies.limit()  # of a form in chunks
    try:
        file, model = request.files.get("file"), request.form.get("model", model)
    except RequestEntityTooLarge:
        raise bodies.too_large() from None
    if file is None:
        raise unprocessable((("file",), "is missing; expected a CSV or Parquet file"))
    return file, model


def _format_of(file: FileStorage) -> str:
    """By the part's own media type, or by the file's name where that says nothing."""
    if file.mimetype in FORMATS:
        return FORMATS[file.mimetype]
    ending = (file.filename or "").rsplit(".", 1)[-1].lower()
    if ending not in ENDINGS:
        raise Refused(415, "file: expected text/csv or application/vnd.apache.parquet, or a name that ends so.")
    return ENDINGS[ending]


def _chunks(file: FileStorage) -> Iterator[bytes | memoryview]:
    while chunk := file.stream.read(bodies.CHUNK):
        yield chunk


@routes.on(
    "GET",
    "/datasets",
    "viewer",
    "List datasets, newest first.",
    answers={200: ListOf("datasets", DatasetView)},
    query=PAGE,
)
def list_datasets() -> Response:
    limit, cursor = page_of_query()
    with house().database.read() as tx:
        return answer_page("datasets", datasets.listed(tx, limit, cursor), dataset_view)


@routes.on("GET", "/datasets/{id}", "viewer", "One dataset.", answers={200: DatasetView}, refusals=(404,))
def get_dataset(id_: str) -> Response:
    with house().database.read() as tx:
        dataset = datasets.get(tx, checked(id_, "This dataset"))
    if dataset is None:
        raise not_found(f"Dataset {id_}")
    return answer(dataset_view(dataset))
