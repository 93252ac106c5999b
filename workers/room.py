"""What a worker's process holds in its hands: settings, ledger, bell, files, models, registry. Opened once per process."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from loguru import logger

from jobs.bell import Bell
from jobs.kinds import POLICIES, Kind, lane
from registry.mlflow_registry import MlflowRegistry
from registry.port import ModelRegistry
from settings import Settings
from storage.artifacts import Artifacts
from storage.database import Database
from storage.jobs import Job, NewJob
from workers.lease import Leases

if TYPE_CHECKING:
    from workers.shelf import Shelf

MAIN = os.getpid()
BOOT = uuid.uuid4().hex[:8]  # these two are the same in a worker's main process and in the children it forks


def worker_name(role: str) -> str:
    """This worker's name: role, host, and a token of this start."""
    return f"{role}@{socket.gethostname()[:60]}/{BOOT}"


@dataclass(frozen=True)
class Room:
    """The wiring; `clock` gives epoch seconds and is injected, so that tests own the time."""

    settings: Settings
    db: Database
    bell: Bell
    artifacts: Artifacts
    registry: ModelRegistry
    leases: Leases
    clock: Callable[[], float] = time.time

    @cached_property
    def shelf(self) -> Shelf:
        """Models in memory. Made at the first use: the sweeper has none, and does without scikit-learn."""
        from workers.shelf import Shelf

        return Shelf(self.artifacts, self.registry)

    def new_job(self, kind: Kind, model: str, payload: bytes | None = None, **more: str | float | None) -> NewJob:
        """A job of this kind, on its queue and in its lane."""
        given = {"lane": lane(kind, model)} | more
        return NewJob.make(
            kind,
            model,
            POLICIES[kind].queue,
            self.clock(),
            self.settings.max_attempts,
            payload=payload,
            **given,
        )

    def ring(self, new: Sequence[NewJob]) -> None:
        """Ring for jobs that were committed, but for those that are to wait."""
        self.bell.ring([(job.queue, job.kind, job.id) for job in new if not job.delay])  # type: ignore[misc]

    def ended(self, jobs: Sequence[Job], status: str) -> None:
        """Count jobs of one claim and kind that ended, and how long they waited and ran."""
        now, kind, tally = self.clock(), jobs[0].kind, self.leases.tally
        tally.observe([now - job.created_at for job in jobs], "job_seconds", kind, status)
        tally.observe([(job.started_at or now) - job.created_at for job in jobs], "queue_wait", kind)
        tally.observe([now - (job.started_at or now) for job in jobs], "runtime", kind)

    def close(self) -> None:
        self.leases.stop()
        self.bell.close()
        self.db.close()


def open_registry(settings: Settings) -> MlflowRegistry:
    """The model registry that the settings name."""
    embedded = None if settings.mlflow_tracking_uri else settings.data_dir.resolve() / "mlflow" / "artifacts"
    return MlflowRegistry(settings.registry_uri, embedded)


def open_room(settings: Settings, role: str, queues: Sequence[str]) -> Room:
    """Open this process's room and start its signs of life."""
    db = Database(settings.ledger_url, pool_size=4)
    artifacts = Artifacts(settings.data_dir / "artifacts")
    registry = open_registry(settings)
    leases = Leases(
        db, worker_name(role), ",".join(queues), settings.job_lease_s, time.time, pid=MAIN, alive_file=settings.alive_file
    )
    bell = Bell(settings.redis_url, on_fault=logger.warning)
    room = Room(settings, db, bell, artifacts, registry, leases)
    if queues:  # the sweeper carries no jobs
        leases.start()
    logger.debug("room of {} open in process {}", role, os.getpid())
    return room
