"""What people are told, in words: each event opens or moves on an incident, and a notify job carries it out."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
from loguru import logger
from sqlalchemy import Connection, select

from storage import incidents, jobs
from storage.incidents import State
from storage.jobs import NewJob
from storage.schema import incidents as incident_rows
from storage.versions import Version
from workers.room import Room


def tell(
    room: Room,
    tx: Connection,
    key: str,
    kind: str,
    state: State,
    title: str,
    lines: Sequence[str],
    now: float,
    model: str | None = None,
    rest_s: float = 0.0,
) -> NewJob:
    """Open or move on the incident `key`; returns the notify job that tells of it. Each line gets its time (UTC).

    Args:
        rest_s: see `incidents.tell` in storage.
    """
    stamp = time.strftime("%H:%M:%S", time.gmtime(now))
    incident_id = incidents.tell(tx, key, model, kind, state, title, [f"{stamp} {line}" for line in lines], now, rest_s)
    payload = msgspec.json.encode({"incident_id": incident_id})
    return room.new_job("notify", model or "-", payload, lane=f"notify:{incident_id}")


def over(room: Room, tx: Connection, model: str, kind: str, title: str, line: str, now: float, besides: str) -> list[NewJob]:
    """Whatever else is open of a model is over, as another version serves; returns the notify jobs."""
    keys = [key for key in incidents.open_of(tx, model) if key != besides]
    return [tell(room, tx, key, kind, "resolved", title, [line], now, model) for key in keys]


def told_before(tx: Connection, key: str) -> bool:
    """Whether there ever was an incident of this key."""
    return tx.execute(select(incident_rows.c.id).where(incident_rows.c.key == key).limit(1)).first() is not None


def refused(room: Room, version: Version, why: str) -> None:
    """A model's file is refused: people are told once a version."""
    logger.error("{} version {} is refused: {}", version.model, version.name, why)
    key = f"refused:{version.model}:{version.name}"
    then = f"version {version.promoted_from} serves instead" if version.promoted_from else "nothing else can serve"
    line = f"{why}. {then.capitalize()}. Restore the file, or roll back to a version that is whole."

    def told(tx: Connection) -> list[NewJob]:
        if told_before(tx, key):
            return []
        title = f"The file of {version.model} version {version.name} is refused"
        return jobs.add(tx, [tell(room, tx, key, "failure", "told", title, [line], room.clock(), version.model)])

    room.ring(room.db.run(told))
