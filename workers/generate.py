"""Generate jobs: rows with a drift of known kind and strength become a dataset."""

from __future__ import annotations

from typing import Any

import msgspec

from ml.generator import generate
from storage.datasets import NewDataset
from storage.jobs import Job
from workers.ingest import store_dataset
from workers.lease import Claim
from workers.room import Room
from workers.run import Done
from workers.tables import write_columns


def work(room: Room, job: Job, claim: Claim) -> Done:
    """Make the rows that the payload asks for: samples, features, noise, drift, strength, seed."""
    asked: dict[str, Any] = msgspec.json.decode(job.payload or b"{}")
    with room.db.read() as tx:
        problem = room.shelf.problem_of(tx, job.model)
    rows, labels = generate(**asked)
    name = f"datasets/{job.id}/{job.attempt}.arrow"
    columns = {feature.name: rows[:, i] for i, feature in enumerate(problem.features)} | {problem.label: labels}
    with room.artifacts.writing(name) as draft:
        write_columns(draft, columns)
    claim.check()
    result = {
        "dataset_id": job.id,
        "rows": len(labels),
        "positive_rate": float(labels.mean()),
        "seed": asked["seed"],
    }
    report = {"generated": asked, "positive_rate": result["positive_rate"]}
    new = NewDataset(job.id, job.id, job.model, len(labels), 0, "generated", report, name, room.artifacts.digest(name))
    classes = sorted(set(labels.tolist()))
    return Done(result, name, lambda tx, now: store_dataset(room, tx, problem, new, classes, now))
