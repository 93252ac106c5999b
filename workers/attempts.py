"""The end of an attempt to train that changed no champion, and of a trial that cannot go on: what failed is on record.

Apart from `train` and `trial`, so that the sweeper can end what is dead without importing scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from loguru import logger
from sqlalchemy import Connection

from storage import champions, detectors, jobs, models
from storage.detectors import Detector
from storage.incidents import State, of_drift
from storage.jobs import Job, NewJob
from storage.models import Model
from storage.versions import Version
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


def failed(room: Room, kind: str) -> Failed | None:
    """What else a job of this kind leaves behind that ends as `failed`, or is dead."""
    endings = {"train": _failed_training, "shadow": _failed_shadow}
    return endings[kind](room) if kind in endings else None


def _failed_training(room: Room) -> Failed:
    """What a training that ends as `failed` leaves behind: a decision, a cool-down, and people told."""

    def settle_for(job: Job, error: str) -> Settle:
        def settle(tx: Connection, now: float) -> Sequence[NewJob]:
            model = models.lock(tx, job.model)
            said: dict[str, Any] = msgspec.json.decode(error)
            reason = f"The training failed: {said['message']}"
            known = {"by": "training", "error": said, "asked": msgspec.json.decode(job.payload or b"{}")}
            champions.record(tx, job.model, "reject", None, model.champion, reason, now, job.id, known)
            if said["type"] == "superseded":  # people were told why another version serves
                return ()
            attempted(tx, model, now)
            title = f"Training of {job.model} failed"
            key, state = _incident(job)
            return [tell(room, tx, key, "failure", state, title, [f"training failed: {said['message']}"], now, job.model)]

        return settle

    return settle_for


def _incident(job: Job) -> tuple[str, State]:
    """Where its failure is told: in the drift's own incident, which stays open, if it was to answer one."""
    reason = msgspec.json.decode(job.payload or b"{}").get("reason")
    return (of_drift(job.model), "opened") if reason in ("drift", "floor") else (f"training:{job.id}", "told")


def _failed_shadow(room: Room) -> Failed:
    """A challenger that cannot answer in shadow, or takes its worker down, has lost its trial."""

    def settle_for(job: Job, error: str) -> Settle:
        def settle(tx: Connection, now: float) -> Sequence[NewJob]:
            said: dict[str, Any] = msgspec.json.decode(error)
            version = msgspec.json.decode(job.payload or b"{}")["version"]
            why = f"it could not answer in shadow ({said['message'].rstrip('.')})"
            return reject(room, tx, job.model, version, why, {"by": "shadow", "error": said}, now)

        return settle

    return settle_for


def cannot_answer(room: Room, version: Version, fault: Exception) -> None:
    """A canary raised where the champion answers: its trial is over."""
    logger.opt(exception=fault).error("{} version {} cannot answer", version.model, version.name)
    why = f"it could not answer where the champion could ({type(fault).__name__})"

    def end(tx: Connection) -> Sequence[NewJob]:
        models.lock(tx, version.model)
        error = {"type": "model_error", "message": type(fault).__name__}
        return jobs.add(tx, reject(room, tx, version.model, version.name, why, {"by": "canary", "error": error}, room.clock()))

    room.ring(room.db.run(end))


def reject(
    room: Room, tx: Connection, model: str, version: str, why: str, evidence: Mapping[str, Any], now: float
) -> list[NewJob]:
    """End the trial of this version, unless it is over by now, and tell people.

    Args:
        why: in words that follow the versions' names.
    """
    ended = champions.reject(tx, model, why, evidence, now, version)
    if ended is None:
        return []
    decision, trial = ended
    title = f"{model}: version {version} did not stand its trial"
    return [tell(room, tx, trial.incident, "warning", "resolved", title, [decision.reason], now, model)]
