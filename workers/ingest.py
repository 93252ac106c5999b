"""Ingest jobs: an uploaded table becomes a dataset, or fails and leaves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from problems.labels import Label
from storage import datasets, models
from storage.datasets import NewDataset
from storage.jobs import Job, NewJob
from workers import tables
from workers.lease import Claim
from workers.room import Room
from workers.run import Done


def work(room: Room, job: Job, claim: Claim) -> Done:
    """Check the table, keep its usable rows, and say what was left out."""
    asked: dict[str, Any] = msgspec.json.decode(job.payload or b"{}")
    with room.db.read() as tx:
        problem = room.shelf.problem_of(tx, job.model)
        model = models.get(tx, job.model)
    known: list[Label] = list(model.classes or []) if model else []
    name = f"datasets/{job.id}/{job.attempt}.arrow"
    read = tables.rows_to_learn(room, problem, job.artifact or "", name, known)
    claim.check()
    result = {
        "dataset_id": job.id,
        "rows": read["rows"],
        "rejected": read["rejected"],
        "report": read["report"],
    }
    source = "backfill" if asked.get("backfill") else "upload"
    digest = room.artifacts.digest(name)
    new = NewDataset(job.id, job.id, job.model, read["rows"], read["rejected"], source, read["report"], name, digest)  # type: ignore[arg-type]
    return Done(result, None, lambda tx, now: store_dataset(room, tx, new, read["classes"], now))


def store_dataset(room: Room, tx: Connection, new: NewDataset, classes: Sequence[Label], now: float) -> Sequence[NewJob]:
    """Give the dataset its place in history. A model without a champion is checked at once: this may be what it waited for."""
    model = models.lock(tx, new.model)
    datasets.add(tx, new, now)
    if model.problem.task != "regression":
        union = {*(model.classes or []), *classes}
        models.change(tx, new.model, classes=sorted(union, key=str))
    return [room.new_job("check", new.model)] if model.champion is None else []
