"""Telling people from the API: of what a person did, and whether notifications arrive at all."""

from __future__ import annotations

import msgspec
from flask import Response

from api import bodies
from api.accepting import accept, digest_of, new_job
from api.asking import asked
from api.auth import caller
from api.house import house
from api.routes import Routes
from api.views import JobView
from storage.jobs import NewJob

routes = Routes("notifications")


@routes.on(
    "POST",
    "/notifications/test",
    "operator",
    "Send a test message to every channel; the job says whether they took it.",
    answers={202: JobView, 200: JobView},
    makes_job=True,
)
def post_test() -> Response:
    how, body = asked(), bodies.read_nothing()
    house().front.room()
    return accept(new_job("notify", "-", msgspec.json.encode({"test": caller().name})), how, digest_of(body))


def news(incident_id: str, model: str) -> NewJob:
    """The job that tells people of an incident."""
    return new_job("notify", model, msgspec.json.encode({"incident_id": incident_id}))
