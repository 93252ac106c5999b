"""The workers' room in this process, on a ledger of its own: what is measured alone is measured without queues between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
from loguru import logger

from jobs.bell import Bell
from jobs.kinds import NOTIFY, QUEUES, Kind
from problems.declaration import Problem, declared
from registry.memory import MemoryRegistry
from settings import read
from storage import jobs, ledger, models
from storage.artifacts import Artifacts
from storage.database import Database
from storage.migrate import migrate
from workers import tasks
from workers.lease import Leases
from workers.room import Room

NOWHERE = "redis://127.0.0.1:1/0"


@contextmanager
def house(folder: Path, problem: Problem, redis_url: str = NOWHERE, database_url: str = "") -> Iterator[Room]:
    """A room with one declared model; without a `database_url` on SQLite with synchronous=FULL, as ever."""
    logger.remove()  # what a worker says on the way is no result
    settings = read(_env_file=None, data_dir=folder, redis_url=redis_url, database_url=database_url)
    database = Database(settings.ledger_url)
    migrate(database)
    bell = Bell(redis_url, on_fault=logger.debug)
    leases = Leases(database, "bench", "", settings.job_lease_s, time.time)
    room = Room(settings, database, bell, Artifacts(folder / "artifacts"), MemoryRegistry(), leases)
    with database.begin() as tx:
        models.declare(tx, problem.name, declared(problem), "declared", room.clock())
    try:
        yield room
    finally:
        room.close()


def generated(room: Room, model: str, samples: int, features: int, seed: int) -> None:
    """Give the model labelled rows; the first time, that trains it."""
    asked = {"samples": samples, "features": features, "noise": 0.05, "drift": "none", "strength": 0.0, "seed": seed}
    post(room, "generate", model, msgspec.json.encode(asked))
    settle(room)


def post(room: Room, kind: Kind, model: str, payload: bytes) -> str:
    """Put a job into the ledger; its id."""
    new = room.new_job(kind, model, payload)
    with room.db.begin() as tx:
        jobs.add(tx, [new])
    return new.id


def settle(room: Room) -> None:
    """As `carry_out`, where nothing may fail.

    Raises:
        RuntimeError: a job did not succeed.
    """
    carry_out(room)
    with room.db.read() as tx:
        bad: list[Any] = jobs.listed(tx, None, "failed", None, 1, None).entries
    if bad:
        raise RuntimeError(f"a job has failed: {bad[0].kind} {bad[0].error}")


def carry_out(room: Room) -> None:
    """Carry out what is queued, and what follows from it; people are not told."""
    while True:
        with room.db.read() as tx:
            waiting = [bell for queue in QUEUES if queue != NOTIFY for bell in ledger.all_queued(tx, 10_000, queue)]
        if not waiting:
            break
        for bell in sorted(waiting, key=lambda bell: bell.job_id):
            tasks.carry(room, cast(Kind, bell.kind), [bell.job_id], bell.job_id)
