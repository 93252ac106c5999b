"""POST /predict: rows in, job out. JSON is checked and packed here; a table goes to a file as it came."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Response, request

from api import bodies
from api.accepting import accept, digest_of, files_of, new_job
from api.asking import Asked, asked
from api.bodies import ARROW, CSV, JSON, PARQUET
from api.errors import Refused, unfit_rows, unprocessable
from api.house import house
from api.routes import MODEL, Routes
from api.tables import accept_table
from api.views import JobView
from jobs.kinds import BULK, ROWS_AT_ONCE
from problems.declaration import Problem
from problems.large import pack_large
from problems.rows import InvalidRows, PackedRows
from storage.ids import new_id

INLINE_BYTES = 256 << 10  # larger rows are a file, and bulk
FORMATS = {CSV: "csv", PARQUET: "parquet", ARROW: "arrow"}
OLDER = "feature"  # the older system's "feature1", "feature2", …
routes = Routes("predict")


class PredictBody(msgspec.Struct):
    """Rows to predict: `instances`, or one row in the older system's `features` (or `feature1`, `feature2`, …)."""

    model: str = "default"
    instances: list[list[Any] | dict[str, Any]] = []
    features: list[Any] = []


@routes.on(
    "POST",
    "/predict",
    "client",
    "Predict rows.",
    bodies={JSON: PredictBody, CSV: None, PARQUET: None, ARROW: None},
    answers={202: JobView, 200: JobView},
    refusals=(404,),
    query=(MODEL,),
    makes_job=True,
)
def predict() -> Response:
    how = asked()
    media = bodies.media_type(JSON, *FORMATS)
    house().front.room()
    if media != JSON:
        known = house().models.get(request.args.get("model", "default"))
        format_ = FORMATS[media]
        return accept_table("predict", known.model.name, format_, {"format": format_}, bodies.chunks(), how)
    data = bodies.read()
    model, packed = rows_of(bodies.decode(data, dict[str, msgspec.Raw]))
    digest = digest_of(data) if how.key else ""
    payload = packed.encode()
    if packed.count <= ROWS_AT_ONCE and len(payload) <= INLINE_BYTES:
        return accept(new_job("predict", model, payload), how, digest)
    return _accept_file(model, payload, how, digest)


def _accept_file(model: str, payload: bytes, how: Asked, digest: str) -> Response:
    artifacts = house().artifacts
    job_id = new_id(house().clock())
    name = f"bodies/{job_id}/rows.bin"
    with files_of(job_id):
        artifacts.write(name, [payload])
        return accept(new_job("predict", model, None, name, BULK, job_id), how, digest)


def rows_of(fields: dict[str, msgspec.Raw]) -> tuple[str, PackedRows]:
    """The model's name and the checked rows of a JSON body.

    Raises:
        Refused: 400, 404 or 422.
    """
    name = bodies.decode(fields["model"], str, "model") if "model" in fields else "default"
    problem = house().models.get(name).problem
    key, rows = _rows(fields, problem)
    unknown = sorted(set(fields) - {"model", key} - set(_older(fields) if key == OLDER else ()))
    if unknown:
        raise unprocessable(*(((name,), "unknown key; expected model and instances") for name in unknown[:100]))
    try:
        return name, pack_large(problem, rows)
    except InvalidRows as wrong:
        raise unfit_rows(wrong.errors) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise Refused(400, f"The body is not JSON: {wrong}.") from None


def _rows(fields: dict[str, msgspec.Raw], problem: Problem) -> tuple[str, msgspec.Raw | bytes]:
    """Which key holds the rows, and the rows as a JSON array; the older forms are one row, by place."""
    if "instances" in fields:
        return "instances", fields["instances"]
    if "features" in fields:
        return "features", b"[" + bytes(fields["features"]) + b"]"
    older = _older(fields)
    if not older:
        raise unprocessable((("instances",), f"is missing; expected rows of {len(problem.features)} values"))
    wanted = [f"{OLDER}{n}" for n in range(1, len(problem.features) + 1)]
    if older != wanted:
        raise unprocessable(((OLDER,), f"expected {', '.join(wanted[:8])}, got {', '.join(older[:8])}"))
    return OLDER, b"[[" + b",".join(bytes(fields[name]) for name in wanted) + b"]]"


def _older(fields: dict[str, msgspec.Raw]) -> list[str]:
    numbered = [name for name in fields if name.startswith(OLDER) and name[len(OLDER) :].isdecimal()]
    return sorted(numbered, key=lambda name: (len(name), name))
