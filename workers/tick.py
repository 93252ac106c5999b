"""Beat's tick: the checks of this interval, one per model, however many beats tick and however often a tick is delivered."""

from __future__ import annotations

import math

from sqlalchemy import Connection

from storage import jobs, models
from storage.jobs import NewJob
from storage.models import Model
from workers.room import Room


def run(room: Room) -> None:
    """Ask for a check of every model that has none under way."""

    every = room.settings.check_interval_seconds

    def ask(tx: Connection) -> list[NewJob]:
        now = room.clock()
        jobs.forget_later_keys(tx, "check", now)
        idle = [model for model in models.every(tx) if jobs.open_job(tx, "check", model.name) is None]
        return jobs.add(tx, [room.new_job("check", model.name, dedupe_key=_slot(model, now, every)) for model in idle])

    room.ring(room.db.run(ask))


def _slot(model: Model, now: float, every: float) -> str:
    """One check in each of the model's own intervals."""
    return f"check:{model.name}:{math.floor(now / model.interval_s(every))}"
