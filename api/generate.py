"""POST /generate: labelled rows of a known rule, with a drift where one is asked for."""

from __future__ import annotations

import secrets
from typing import Annotated, Literal

import msgspec
from flask import Response
from pydantic import Field

from api import bodies
from api.accepting import accept, digest_of, new_job
from api.asking import asked
from api.bodies import JSON, Body
from api.errors import Fault, unfit
from api.house import house
from api.routes import Routes
from api.views import JobView
from problems.declaration import Problem

MOST_ROWS = 10_000_000
routes = Routes("generate")
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class GenerateBody(Body):
    """What to generate. `noise` is the share of flipped labels; without a seed one is drawn, and the result says which."""

    model: str = "default"
    samples: int = Field(1_000, ge=1, le=MOST_ROWS)
    features: int | None = Field(None, ge=1, le=10_000, description="default: as many as the model has")
    noise: Share = 0.1
    drift: Literal["none", "covariate", "concept"] = "none"
    strength: Share = 0.5
    seed: int | None = Field(None, ge=0, lt=2**63)


@routes.on(
    "POST",
    "/generate",
    "operator",
    "Generate labelled rows.",
    bodies={JSON: GenerateBody},
    answers={202: JobView, 200: JobView},
    refusals=(404,),
    makes_job=True,
)
def generate() -> Response:
    how = asked()
    bodies.media_type(JSON)
    house().front.room()
    data = bodies.read()
    body = bodies.small(GenerateBody, data)
    known = house().models.get(body.model)
    payload = {
        "samples": body.samples,
        "features": _fitting(known.problem, body.features),
        "noise": body.noise,
        "drift": body.drift,
        "strength": body.strength,
        "seed": secrets.randbelow(2**31) if body.seed is None else body.seed,  # drawn here: a retried job makes the same rows
    }
    return accept(new_job("generate", body.model, msgspec.json.encode(payload)), how, digest_of(data) if how.key else "")


def _fitting(problem: Problem, asked_for: int | None) -> int:
    """How many features to generate.

    Raises:
        Refused: 422, what is generated does not fit the model.
    """
    have = len(problem.features)
    faults = []
    if problem.task != "binary":
        faults.append(Fault(("model",), f"'{problem.name}' is a {problem.task} task; what is generated has two classes"))
    if any(feature.type != "number" for feature in problem.features):
        faults.append(Fault(("model",), f"'{problem.name}' has features that are no numbers; what is generated has only those"))
    if asked_for is not None and asked_for != have:
        faults.append(Fault(("features",), f"'{problem.name}' has {have} features, got {asked_for}"))
    if faults:
        raise unfit(faults)
    return have
