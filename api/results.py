"""GET /jobs/{id}/result: the whole result, as JSON, CSV, Parquet or Arrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from flask import Response, request

from api.bodies import ARROW, CHUNK, CSV, JSON, PARQUET
from api.errors import Refused
from api.house import house
from api.jobs import job_of
from api.routes import Media, Routes
from storage import exports
from storage.jobs import Job

FORMATS = {CSV: "csv", PARQUET: "parquet", ARROW: "arrow"}
TABULAR = ("predict", "generate")
routes = Routes("results")


@routes.on(
    "GET",
    "/jobs/{id}/result",
    "viewer",
    "The whole result; Accept chooses the form.",
    answers={200: Media((JSON, *FORMATS))},
    refusals=(404, 406, 409, 410),
)
def get_result(id_: str) -> Response:
    job = job_of(id_)
    if job.status != "succeeded":
        raise Refused(409, f"The job is {job.status}; only one that succeeded has a result.")
    media = _acceptable(job)
    if media == JSON:
        return Response(_json(job), content_type=JSON)
    type_ = f"{CSV}; charset=utf-8; header=present" if media == CSV else media
    named = {"Content-Disposition": f'attachment; filename="{job.kind}-{job.id}.{FORMATS[media]}"'}
    if media == ARROW and job.kind == "predict" and job.result_artifact is not None:
        return _as_it_lies(_file(job), named, type_)
    schema, tables = _tables(job)
    return Response(exports.encode(schema, tables, FORMATS[media]), headers=named, content_type=type_)


def _as_it_lies(path: Path, headers: Mapping[str, str], type_: str) -> Response:
    """Not by sendfile: where a client stops reading, that would keep this thread for ever."""
    size = str(path.stat().st_size)
    return Response(_read(path), headers={**headers, "Content-Length": size}, content_type=type_)


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(CHUNK):
            yield piece


def _acceptable(job: Job) -> str:
    offered = [JSON, *FORMATS] if job.kind in TABULAR else [JSON]
    if "Accept" not in request.headers:
        return JSON
    chosen = request.accept_mimetypes.best_match(offered)
    if chosen is None:
        raise Refused(406, f"Accept: got {request.headers['Accept'][:200]}, expected {' or '.join(offered)}.")
    return chosen


def _json(job: Job) -> bytes | Iterator[bytes]:
    told = job.result or "null"
    if job.kind != "predict" or job.result_artifact is None:
        return told.encode()
    summary = msgspec.json.decode(told)
    _, tables = exports.of_file(_file(job))
    return exports.as_json({name: summary[name] for name in ("model", "version")}, tables)


def _tables(job: Job) -> tuple[Any, Iterator[Any]]:
    if job.result_artifact is not None:
        return exports.of_file(_file(job))
    return exports.of_predictions(msgspec.json.decode(job.result or "null")["predictions"])


def _file(job: Job) -> Path:
    path = house().artifacts.path(str(job.result_artifact))
    if not path.exists():
        raise Refused(410, "The result's file is gone: jobs are kept for RETENTION_DAYS.")
    return path
