"""Which work a kind of job is. Imports everything that workers do; beat and Flower do without."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.kinds import Kind
from workers import attempts, generate, ingest, notify, predict, run, shadow, train, uptime
from workers.room import Room
from workers.run import Work

WORK: dict[Kind, Work] = {
    "generate": generate.work,
    "ingest": ingest.work,
    "check": uptime.work,
    "train": train.work,
    "shadow": shadow.work,
    "notify": notify.work,
}


def carry(room: Room, kind: Kind, job_ids: Sequence[str], task_id: str) -> None:
    """Carry the jobs that one doorbell names."""
    if kind == "predict":
        predict.run(room, job_ids, task_id)
    else:
        run.carry(room, job_ids, task_id, WORK[kind], attempts.failed(room, kind))
