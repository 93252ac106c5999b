"""The end of an attempt to train that changed no champion: the cool-down begins, and what failed is on record.

Apart from `train`, so that the sweeper can end a dead training without importing scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from storage import champions, detectors, models
from storage.detectors import Detector
from storage.incidents import State
from storage.jobs import Job, NewJob
from storage.models import Model
from workers.incidents import tell
from workers.room import Room
from workers.run import Failed, Settle


def attempted(tx: Connection, model: Model, now: float) -> None:
    """An attempt is over and the champion stays: the cool-down begins, and the detector starts afresh where it stands."""
    models.change(
        tx,
        model.name,
        attempt_head=model.head,
        attempt_rows=model.rows,
        last_trained_at=now,
        drifting=False,
        follow_up_at=None,
    )
    detector = detectors.get(tx, model.name, model.champion) if model.champion else None
    if detector is not None:
        begun = Detector(model.name, detector.version, detector.start, detector.position, {}, None, detector.probation)
        detectors.begin(tx, begun)


def failed(room: Room) -> Failed:
    """What a training that ends as `failed` leaves behind: a decision, a cool-down, and people told."""

    def settle_for(job: Job, error: str) -> Settle:
        def settle(tx: Connection, now: float) -> Sequence[NewJob]:
            model = models.lock(tx, job.model)
            said: dict[str, Any] = msgspec.json.decode(error)
            if said["type"] != "superseded":
                attempted(tx, model, now)
            reason = f"The training failed: {said['message']}"
            champions.record(tx, job.model, "reject", None, model.champion, reason, now, job.id, {"error": said})
            title = f"Training of {job.model} failed"
            key, state = _incident(job)
            return [tell(room, tx, key, "failure", state, title, [f"training failed: {said['message']}"], now, job.model)]

        return settle

    return settle_for


def _incident(job: Job) -> tuple[str, State]:
    """Where its failure is told: in the drift's own incident, which stays open, if it was to answer one."""
    reason = msgspec.json.decode(job.payload or b"{}").get("reason")
    return (f"drift:{job.model}", "opened") if reason in ("drift", "floor") else (f"training:{job.id}", "told")
