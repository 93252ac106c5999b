"""The version that serves a model, brought into memory; a file that is refused is told of."""

from __future__ import annotations

from sqlalchemy import Connection

from workers import incidents
from workers.room import Room
from workers.shelf import Loaded


def champion(room: Room, tx: Connection, model: str) -> Loaded | None:
    """The version that serves now, or None while there is none. Loads its file: not for callers who hold a lock.

    Raises:
        RefusedModel: neither its file may be loaded, nor that of an earlier version.
        RegistryDown, UnknownVersion: its file is missing, and the registry has none.
    """
    try:
        return room.shelf.champion(tx, model)
    finally:
        while room.shelf.refused:
            incidents.refused(room, *room.shelf.refused.pop())
