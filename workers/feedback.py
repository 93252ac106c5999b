"""A table of labels: checked whole, then stored in small transactions, so that nobody waits long for the ledger's one writer.

How far the job is stands in its payload, written with the labels themselves: whoever goes on for a lost worker begins
where that ended, and no label is counted twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import pyarrow as pa
from sqlalchemy import Connection

from problems.declaration import Problem
from problems.labels import InvalidLabel, Label, parse_cell, parse_label
from storage import labels, ledger, models, predictions
from storage.jobs import Job
from storage.labels import Key, key_of
from workers import tables
from workers.labelling import given_labels
from workers.lease import Claim, ClaimLost
from workers.pieces import MOST_ERRORS
from workers.room import Room
from workers.run import Done, JobFailed

BATCH = 2_048  # labels of one transaction: some 50 ms of CPU
MOST_TOLD, MOST_CHARACTERS = 100, 60  # of unknown ids


class Told(msgspec.Struct):
    """What has become of the first `done` labels of the table."""

    done: int = 0
    accepted: int = 0
    duplicate: int = 0
    unknown: list[str] = []
    unknown_count: int = 0


class Asked(msgspec.Struct):
    """A table of labels as the job's payload names it; `told` once the table is found to be good."""

    format: str
    job_id: str | None = None
    labels: bool = True
    told: Told | None = None


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows [start, stop) of a table: the labels to store by model, in order; ids of no prediction; impossible labels."""

    stop: int
    by_model: Mapping[str, Sequence[tuple[Key, str]]]
    unknown: Sequence[str]
    errors: Sequence[dict[str, Any]]


def work(room: Room, job: Job, claim: Claim) -> Done:
    """Store every label of the job's table, or none if one is impossible."""
    asked = msgspec.json.decode(job.payload or b"{}", type=Asked)
    name = f"bodies/{job.id}/{job.attempt}.arrow"
    read = tables.labels_to_store(room, job.artifact or "", name, asked.job_id)
    try:
        table = tables.mapped(room.artifacts.path(name))
        told = asked.told or _verified(room, claim, table)
        told = _stored(room, job, claim, asked, told, table)
    finally:
        room.artifacts.remove(name)
    counts = {"labels": read["rows"], "accepted": told.accepted, "duplicate": told.duplicate, "missing": read["missing"]}
    report = {"ignored_columns": read["ignored"]}
    return Done(counts | {"unknown": told.unknown, "unknown_count": told.unknown_count, "report": report})


def _verified(room: Room, claim: Claim, table: pa.Table) -> Told:
    """Nothing is stored yet, but every label has been looked at.

    Raises:
        JobFailed: `invalid_rows`, with the first hundred labels that their tasks cannot have.
    """
    look, errors = _Look(room, table), list[dict[str, Any]]()
    for start in range(0, table.num_rows, BATCH):
        claim.check()
        errors += look.at(start).errors
        if len(errors) >= MOST_ERRORS:
            break
    _refuse(errors)
    return Told()


def _stored(room: Room, job: Job, claim: Claim, asked: Asked, told: Told, table: pa.Table) -> Told:
    look = _Look(room, table)
    while told.done < table.num_rows:
        claim.check()
        batch = look.at(told.done)
        _refuse(batch.errors)  # of predictions that were not there when the table was verified
        told = room.db.run(partial(_record, room, job, claim, asked, told, batch, batch.stop / table.num_rows))
    return told


def _record(room: Room, job: Job, claim: Claim, asked: Asked, told: Told, batch: _Batch, share: float, tx: Connection) -> Told:
    """One transaction: the labels, and that they are stored."""
    by_model = sorted(batch.by_model.items())  # always in one order: two never wait for each other's locks
    stored = [labels.store(tx, model, given, room.clock) for model, given in by_model]
    told = Told(
        batch.stop,
        told.accepted + sum(each.accepted for each in stored),
        told.duplicate + sum(each.duplicate for each in stored),
        [*told.unknown, *batch.unknown][:MOST_TOLD],
        told.unknown_count + len(batch.unknown),
    )
    payload = msgspec.json.encode(msgspec.structs.replace(asked, told=told))
    if not ledger.note(tx, claim.owner, job.id, payload, round(share, 4)):
        raise ClaimLost(claim.owner)
    return told


def _refuse(errors: Sequence[dict[str, Any]]) -> None:
    if errors:
        message = f"The label of {errors[0]['loc'][1]}: {errors[0]['msg']}."
        raise JobFailed("invalid_rows", message, list(errors[:MOST_ERRORS]))


class _Look:
    """Looks labels up in the prediction log and checks them against their tasks; it asks for each model once."""

    def __init__(self, room: Room, table: pa.Table) -> None:
        self._room, self._table = room, table
        self._models: dict[str, tuple[Problem, list[Label]]] = {}
        self._texts: dict[tuple[str, type, Any], str] = {}  # few labels, many rows

    def at(self, start: int) -> _Batch:
        """The rows from `start` on, at most BATCH of them."""
        stop = min(start + BATCH, self._table.num_rows)
        given = [(key_of(name), name, label) for name, label in given_labels(self._table, start, stop)]
        with self._room.db.read() as tx:
            sizes = predictions.sizes(tx, list({key[0] for key, _, _ in given if key}))
            by_model, unknown, errors = dict[str, list[tuple[Key, str]]](), list[str](), list[dict[str, Any]]()
            for key, name, label in given:
                if key is None or key[0] not in sizes or key[1] >= sizes[key[0]].rows:
                    unknown.append(name[:MOST_CHARACTERS])
                    continue
                model = sizes[key[0]].model
                try:
                    by_model.setdefault(model, []).append((key, self._text(tx, model, label)))
                except InvalidLabel as wrong:
                    errors.append({"loc": ["label", name], "msg": str(wrong)})
        return _Batch(stop, by_model, unknown, errors)

    def _text(self, tx: Connection, model: str, label: Any) -> str:
        """The label as a JSON scalar."""
        known = (model, type(label), label)
        if known not in self._texts:
            problem, classes = self._model(tx, model)
            parsed = parse_cell(problem, label, classes) if isinstance(label, str) else parse_label(problem, label, classes)
            text = msgspec.json.encode(parsed).decode()
            if problem.task == "regression":
                return text
            self._texts[known] = text
        return self._texts[known]

    def _model(self, tx: Connection, name: str) -> tuple[Problem, list[Label]]:
        if name not in self._models:
            found = models.get(tx, name)
            self._models[name] = self._room.shelf.problem_of(tx, name), list(found.classes or []) if found else []
        return self._models[name]
