"""The version that serves a model, or served it, brought into memory; a file that is refused is told of."""

from __future__ import annotations

from loguru import logger
from sqlalchemy import Connection

from ml.model_file import RefusedModel
from registry.port import RegistryDown, UnknownVersion
from storage import versions
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


def version(room: Room, model: str, name: str) -> Loaded | None:
    """A version that began a job and should end it, champion or not by now; None if it cannot be had any more."""
    with room.db.read() as tx:
        found = versions.get(tx, model, name)
        problem = room.shelf.problem_of(tx, model)
    try:
        return Loaded(problem, found, room.shelf.pipeline(found)) if found else None
    except (RefusedModel, RegistryDown, UnknownVersion) as fault:
        logger.warning("{} version {} cannot be loaded any more: {}", model, name, fault)
        return None
