"""Labels that come back: the latest wins, each change is kept, and each row gets one position in its model's history."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, insert, select, update

from storage import coverage, models
from storage.dialects import among, fetch, insert_many
from storage.schema import label_changes, labels

PREDICTION_ID: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):(0|[1-9][0-9]{0,11})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a batch of labels."""

    accepted: int
    duplicate: int


@dataclass(frozen=True, slots=True)
class Labelled:
    """One label as it stands, with the ones it replaced, oldest first. `label` is a JSON scalar."""

    job_id: str
    row: int
    label: str
    labelled_at: float
    history: list[tuple[str, float]]


Key = tuple[str, int]  # (job id, row)


def key_of(prediction_id: str) -> Key | None:
    """The job and the row in a prediction's id; None if it cannot be one."""
    found = PREDICTION_ID.fullmatch(prediction_id)
    return (found[1], int(found[2])) if found else None


def store(tx: Connection, model: str, given: Sequence[tuple[Key, str]], clock: Callable[[], float]) -> Stored:
    """Store labels of one model's predictions, in order; a key may come twice, the later one wins.

    Args:
        given: ((job id, row), label as a JSON scalar); every key must be a row of a logged prediction of `model`.
        clock: epoch seconds.
    """
    models.lock(tx, model)  # before the look: of two that bring the same label at once, the second sees the first one's
    now = clock()  # and before the time is taken: corrections are seen in the order of their times, which a training is known by
    current = _current(tx, [key for key, _ in given])
    new: dict[Key, str] = {}
    changed: dict[Key, str] = {}
    replaced: list[dict[str, Any]] = []
    accepted = 0
    for key, label in given:
        known = new.get(key) or changed.get(key) or (current[key][0] if key in current else None)
        if known == label:
            continue
        accepted += 1
        if known is not None:
            before = current[key][1] if key in current and key not in changed else now
            replaced.append(_change(key, known, before, now))
        (changed if key in current else new)[key] = label
    _insert(tx, model, new, now)
    _update(tx, changed, now)
    if replaced:
        tx.execute(insert(label_changes), replaced)
    return Stored(accepted, len(given) - accepted)


def _change(key: Key, label: str, since: float, now: float) -> dict[str, Any]:
    return {"job_id": key[0], "row": key[1], "label": label, "labelled_at": since, "replaced_at": now}


_CURRENT = 'SELECT job_id, "row", label, labelled_at FROM labels WHERE (job_id, "row") {among_pairs}'
_COLUMNS = ("job_id", '"row"', "model", "position", "label", "labelled_at")


def _current(tx: Connection, keys: Sequence[Key]) -> dict[Key, tuple[str, float]]:
    return {(job_id, row): (label, at) for job_id, row, label, at in fetch(tx, _CURRENT, json.dumps(keys))}


def _insert(tx: Connection, model: str, new: Mapping[Key, str], now: float) -> None:
    if not new:
        return
    first = models.take_positions(tx, model, len(new))
    rows = [(*key, model, first + n, label, now) for n, (key, label) in enumerate(new.items())]
    insert_many(tx, "labels", _COLUMNS, rows)
    coverage.add_labels(tx, model, [job_id for job_id, _ in new])


_UPDATE = (
    update(labels)
    .where(labels.c.job_id == bindparam("b_job"), labels.c.row == bindparam("b_row"))
    .values(label=bindparam("b_label"), labelled_at=bindparam("b_now"))
)


def _update(tx: Connection, changed: Mapping[Key, str], now: float) -> None:
    rows = [{"b_job": key[0], "b_row": key[1], "b_label": label, "b_now": now} for key, label in changed.items()]
    if rows:
        tx.execute(_UPDATE, rows)


def of_job(tx: Connection, job_id: str) -> list[Labelled]:
    """The labels of one job's predictions, by row, each with its history."""
    before: dict[int, list[tuple[str, float]]] = {}
    changes = select(label_changes).where(label_changes.c.job_id == job_id).order_by(label_changes.c.id)
    for row in tx.execute(changes):
        before.setdefault(row.row, []).append((row.label, row.labelled_at))
    query = select(labels).where(labels.c.job_id == job_id).order_by(labels.c.row)
    return [Labelled(job_id, row.row, row.label, row.labelled_at, before.get(row.row, [])) for row in tx.execute(query)]


def corrected(tx: Connection, model: str, start: float, stop: float) -> list[float]:
    """When labels of a model were corrected between two moments, epoch seconds, ascending. It reads all corrections."""
    this = and_(labels.c.job_id == label_changes.c.job_id, labels.c.row == label_changes.c.row, labels.c.model == model)
    at = label_changes.c.replaced_at
    query = select(at).join(labels, this).where(at >= start, at <= stop).distinct().order_by(at)
    return list(tx.execute(query).scalars())


_BETWEEN = (
    'SELECT position, labels."row", label, features, CASE WHEN features IS NULL OR labelled_at > ? THEN labels.job_id END'
    " FROM labels LEFT JOIN {single} WHERE labels.model = ? AND position >= ? AND position < ? ORDER BY position"
)
Evidence = tuple[int, int, str, bytes | None, str | None]


def between(tx: Connection, model: str, start: int, stop: int, as_of: float = math.inf) -> list[Evidence]:
    """Labels at positions [start, stop), oldest first, as (position, row, label JSON, features, job id).

    `features`: what the job was asked, as PackedRows, if that was a single row; None for larger jobs, for files, and for
    what is no longer in the log. The job's id is given where there are no features; where there are, nobody needs it, and
    ten thousand of them take as long as the features.

    Args:
        as_of: the moment whose labels are asked for: what was corrected later is given as it stood, and what was given later
            as it was given first.
    """
    found: list[Evidence] = fetch(tx, _BETWEEN, as_of, model, start, stop)
    if as_of == math.inf:
        return found
    stood = _stood(tx, sorted({job for *_, job in found if job}), as_of)
    return [
        (position, row, stood.get((job, row), label) if job else label, features, job)
        for position, row, label, features, job in found
    ]


def _stood(tx: Connection, job_ids: Sequence[str], moment: float) -> dict[Key, str]:
    """The labels of these jobs that stood then, or were the first ones after, and have been replaced since."""
    changed = label_changes.c
    query = select(changed.job_id, changed.row, changed.label).where(
        among(tx, changed.job_id, job_ids),
        changed.replaced_at > moment,
        changed.replaced_at != changed.labelled_at,  # not what another label of the same call replaced
    )
    newest_first = tx.execute(query.order_by(changed.id.desc()))
    return {(row.job_id, row.row): row.label for row in newest_first}
