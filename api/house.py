"""What every route may use: one frozen object on the Flask app."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from flask import current_app

from api.front import Front
from api.health import Pulse
from api.inspecting import Inspector
from api.known import KnownModels
from api.limits import Buckets
from api.verified import Verified
from api.waiting import Waiting
from jobs.bell import Bell
from settings import Settings
from storage.artifacts import Artifacts
from storage.database import Database
from telemetry.metrics import HttpMetrics


@dataclass(frozen=True, slots=True)
class House:
    """The API's parts, wired once by `app.create_app`; `clock` gives epoch seconds."""

    settings: Settings
    database: Database
    artifacts: Artifacts
    front: Front
    bell: Bell
    waiting: Waiting
    models: KnownModels
    verified: Verified
    inspector: Inspector
    pulse: Pulse
    failures: Buckets
    rates: Buckets | None
    metrics: HttpMetrics
    clock: Callable[[], float] = time.time


def house() -> House:
    """The house of the request that is being answered."""
    return cast(House, current_app.extensions["house"])
