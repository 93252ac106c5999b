"""Beat's tick: the checks of this interval, one per model, however many beats tick and however often a tick is delivered."""

from __future__ import annotations

import math

from sqlalchemy import Connection

from storage import jobs, models
from storage.jobs import NewJob
from workers.room import Room


def run(room: Room) -> None:
    """Ask for a check of every model that has none under way."""

    def ask(tx: Connection) -> list[NewJob]:
        now = room.clock()
        slot = math.floor(now / room.settings.check_interval_seconds)
        idle = [name for name in models.names(tx) if jobs.open_job(tx, "check", name) is None]
        return jobs.add(tx, [room.new_job("check", name, dedupe_key=f"check:{name}:{slot}") for name in idle])

    room.ring(room.db.run(ask))
