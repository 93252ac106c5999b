"""Ingest jobs: an uploaded table becomes a dataset, or fails and leaves nothing. A table of labels is `feedback`'s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from problems.declaration import Problem, changed_meaning, declared
from problems.labels import Label
from storage import datasets, models, versions
from storage.datasets import NewDataset
from storage.jobs import Job, NewJob
from workers import feedback, tables
from workers.incidents import tell
from workers.lease import Claim
from workers.room import Room
from workers.run import Done, JobFailed
from workers.validation import Known


def work(room: Room, job: Job, claim: Claim) -> Done:
    """Check the table, keep its usable rows, and say what was left out."""
    asked: dict[str, Any] = msgspec.json.decode(job.payload or b"{}")
    if asked.get("labels"):
        return feedback.work(room, job, claim)
    with room.db.read() as tx:
        problem = room.shelf.problem_of(tx, job.model)
        known = _known(tx, job.model)
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

    def settle(tx: Connection, now: float) -> Sequence[NewJob]:
        return [*store_dataset(room, tx, problem, new, read["classes"], now), *_warn(room, tx, new, now)]

    return Done(result, None, settle)


def _known(tx: Connection, name: str) -> Known:
    model = models.get(tx, name)
    if model is None:
        return Known()
    version = versions.get(tx, name, model.champion) if model.champion else None
    return Known(list(model.classes or []), model.rows, version.sketch if version else {})


def _warn(room: Room, tx: Connection, new: NewDataset, now: float) -> Sequence[NewJob]:
    """People hear of a feature that gives the label away: a model that learns it looks perfect until it serves."""
    leaks = [each["message"] for each in new.report["warnings"] if each["kind"] == "leakage"]
    if not leaks:
        return ()
    title = f"A dataset of {new.model} may give its labels away"
    return [tell(room, tx, f"leakage:{new.id}", "warning", "told", title, leaks[:5], now, new.model)]


def store_dataset(
    room: Room, tx: Connection, problem: Problem, new: NewDataset, classes: Sequence[Label], now: float
) -> Sequence[NewJob]:
    """Give the dataset its place in history. A model without a champion is checked at once: this may be what it waited for.

    Raises:
        JobFailed: `superseded`: its rows were read for a problem that has another meaning by now.
    """
    model = models.lock(tx, new.model)
    if changed_meaning(declared(problem), model.declared):
        raise JobFailed("superseded", f"'{new.model}' was declared anew while the rows were read; send them again.")
    datasets.add(tx, new, now)
    if model.problem.task != "regression":
        union = {*(model.classes or []), *classes}
        models.change(tx, new.model, classes=sorted(union, key=str))
    return [room.new_job("check", new.model)] if model.champion is None else []
