"""GET /jobs/{id}/result: the whole result, as JSON, CSV, Parquet or Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from flask import Response, request

from api.bodies import ARROW, CSV, JSON, PARQUET
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
    refusals=(404, 406, 409),
)
def get_result(id_: str) -> Response:
    job = job_of(id_)
    if job.status != "succeeded":
        raise Refused(409, f"The job is {job.status}; only one that succeeded has a result.")
    media = _acceptable(job)
    if media == JSON:
        return Response(_json(job), content_type=JSON)
    schema, tables = _tables(job)
    pieces = exports.encode(schema, tables, FORMATS[media])
    type_ = f"{CSV}; charset=utf-8; header=present" if media == CSV else media
    named = {"Content-Disposition": f'attachment; filename="{job.kind}-{job.id}.{FORMATS[media]}"'}
    return Response(pieces, headers=named, content_type=type_)


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
    _, tables = exports.of_file(_file(job), job.id)
    return exports.as_json({name: summary[name] for name in ("model", "version")}, tables)


def _tables(job: Job) -> tuple[Any, Iterator[Any]]:
    if job.result_artifact is not None:
        return exports.of_file(_file(job), job.id if job.kind == "predict" else None)
    return exports.of_predictions(msgspec.json.decode(job.result or "null")["predictions"])


def _file(job: Job) -> Path:
    path = house().artifacts.path(str(job.result_artifact))
    if not path.exists():
        raise Refused(410, "The result's file is gone: jobs are kept for RETENTION_DAYS.")
    return path
