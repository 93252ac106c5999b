"""Labelled rows from the ledger and its files as arrays: what detectors judge and challengers learn from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from ml.challenger import LARGEST_HISTORY
from ml.rows import Rows, Truth, can_be_learnt, pack, stack, take, truth, unpack
from problems.declaration import Problem
from problems.labels import Label
from problems.rows import PackedRows, joined
from storage import datasets, labels, predictions
from storage.datasets import Dataset
from storage.labels import Evidence
from storage.predictions import Logged
from workers import tables
from workers.room import Room


@dataclass(frozen=True, slots=True)
class History:
    """Labelled rows of one model, oldest first: n rows, n labels, n ascending positions."""

    rows: Rows
    truth: Truth
    positions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.positions)

    def cut(self, where: slice) -> History:
        """The rows at these places."""
        return History(take(self.rows, where), self.truth[where], self.positions[where])


@dataclass(frozen=True, slots=True)
class Learnable:
    """What an attempt to train may learn.

    Attributes:
        past: the newest 20,000 rows, and before them those of the sample that are older.
        older: how many these are.
        replay: the places of the whole sample in `past`.
        left_out: how many of the newest were left out, for they hold numbers that no estimator can learn.
    """

    past: History
    older: int
    replay: NDArray[np.int64]
    left_out: int


Decoded = dict[str, PackedRows]  # what a job was asked, by the job's id


REPLAYED = 500  # rows of the sample of history


@dataclass(frozen=True, slots=True)
class _Part:
    rows: Rows
    labels: list[Label]
    positions: NDArray[np.int64]


def between(
    room: Room,
    tx: Connection,
    problem: Problem,
    start: int,
    stop: int,
    decoded: Decoded | None = None,
    as_of: float = math.inf,
) -> History | None:
    """The rows at positions [start, stop), from labels and datasets alike; None if there are none.

    A label whose prediction is no longer in the log is left out.

    Args:
        decoded: jobs that the call before this one has read; afterwards those of this one.
        as_of: the moment (epoch seconds) whose labels are asked for, as they stood before later corrections; inf is now.
    """
    parts = [_of_dataset(room, problem, each, start, stop) for each in datasets.between(tx, problem.name, start, stop)]
    given = labels.between(tx, problem.name, start, stop, as_of)
    parts += _of_labels(room, tx, problem, given, {} if decoded is None else decoded)
    if not parts:
        return None
    positions = np.concatenate([part.positions for part in parts])
    order = np.argsort(positions, kind="stable")
    rows = stack([part.rows for part in parts]) if len(parts) > 1 else parts[0].rows
    said = truth(problem, [label for part in parts for label in part.labels])
    return History(take(rows, order), said[order], positions[order])


def learnable(
    room: Room, tx: Connection, problem: Problem, tail: int, head: int, seed: int, as_of: float = math.inf
) -> Learnable | None:
    """The newest rows at [tail, head), and a simple random sample of 500 of all of them; None if there are none.

    The sample is distributed as Vitter's reservoir (algorithm R, 1985) would be after the last row. It needs no state:
    the ledger keeps every labelled row, so 500 positions are drawn when they are asked for, the same for the same seed.
    """
    first = max(tail, head - LARGEST_HISTORY)
    read = between(room, tx, problem, first, head, as_of=as_of)
    newest = None if read is None else _fit_to_learn(read)
    if read is None or newest is None:
        return None
    drawn = tail + np.random.default_rng(seed).choice(head - tail, min(REPLAYED, head - tail), replace=False)
    decoded: Decoded = {}
    single = (between(room, tx, problem, at, at + 1, decoded, as_of) for at in sorted(drawn[drawn < first].tolist()))
    older = [fit for part in single if part is not None and (fit := _fit_to_learn(part)) is not None]
    past = _joined([*older, newest]) if older else newest
    return Learnable(past, len(older), np.flatnonzero(np.isin(past.positions, drawn)), len(read) - len(newest))


def _fit_to_learn(part: History) -> History | None:
    fit = can_be_learnt(part.rows, part.truth)
    if fit.all():
        return part
    return History(take(part.rows, fit), part.truth[fit], part.positions[fit]) if fit.any() else None


def _joined(parts: Sequence[History]) -> History:
    truths, positions = [part.truth for part in parts], [part.positions for part in parts]
    return History(stack([part.rows for part in parts]), np.concatenate(truths), np.concatenate(positions))


def chunks(
    room: Room, tx: Connection, problem: Problem, start: int, stop: int, size: int = 8_192
) -> Iterator[tuple[int, History | None]]:
    """[start, stop) in order, as (position after the chunk, its rows), at most `size` rows at once.

    A job whose labels reach over many chunks is read and decoded once, not once for each of them.
    """
    decoded: Decoded = {}
    for first in range(start, stop, size):
        last = min(first + size, stop)
        yield last, between(room, tx, problem, first, last, decoded)


def _of_dataset(room: Room, problem: Problem, dataset: Dataset, start: int, stop: int) -> _Part:
    first = max(start, dataset.position)
    count = min(stop, dataset.position + dataset.rows) - first
    path = room.artifacts.path(dataset.artifact)
    offset = first - dataset.position
    rows = tables.rows_of(problem, path, offset, count)
    return _Part(rows, tables.labels_of(problem, path, offset, count), np.arange(first, first + count))


def _of_labels(room: Room, tx: Connection, problem: Problem, given: Sequence[Evidence], decoded: Decoded) -> list[_Part]:
    return _of_single(problem, given) + _of_larger(room, tx, problem, given, decoded)


def _of_single(problem: Problem, given: Sequence[Evidence]) -> list[_Part]:
    asked = [(position, label, features) for position, row, label, features, _ in given if features is not None and row == 0]
    if not asked:
        return []
    positions, texts, features = zip(*asked, strict=True)
    rows = unpack(problem, joined([PackedRows.decode(each) for each in features]))
    return [_Part(rows, _meant(texts), np.array(positions))]


def _of_larger(room: Room, tx: Connection, problem: Problem, given: Sequence[Evidence], decoded: Decoded) -> list[_Part]:
    by_job: dict[str, list[tuple[int, int, str]]] = {}
    for position, row, label, features, job_id in given:
        if features is None and job_id is not None:
            by_job.setdefault(job_id, []).append((position, row, label))
    _read(room, tx, problem, by_job.keys(), decoded)
    known = [(asked, [each for each in by_job[job] if each[1] < asked.count]) for job, asked in decoded.items()]
    flat = [entry for _, rows in known for entry in rows]
    if not flat:
        return []
    packed = _gather(problem, [(asked, [row for _, row, _ in rows]) for asked, rows in known])
    said = _meant([label for _, _, label in flat])
    return [_Part(unpack(problem, packed), said, np.array([position for position, _, _ in flat]))]


def _meant(texts: Sequence[str]) -> list[Label]:
    meant = {text: msgspec.json.decode(text) for text in set(texts)}  # few texts, many rows
    return [meant[text] for text in texts]


def _read(room: Room, tx: Connection, problem: Problem, wanted: Set[str], decoded: Decoded) -> None:
    """Leave in `decoded` the wanted jobs, as far as they are in the log, and no others."""
    for job_id in decoded.keys() - wanted:
        del decoded[job_id]
    for job_id, logged in predictions.get_many(tx, sorted(wanted - decoded.keys())).items():
        decoded[job_id] = _features(room, problem, logged)


def recent_inputs(tx: Connection, problem: Problem, rows: int) -> Rows | None:
    """The newest `rows` rows that were predicted, in no particular order; None if there were none."""
    parts: list[tuple[PackedRows, range]] = []
    left = rows
    for entry in predictions.recent(tx, problem.name, rows):
        asked = PackedRows.decode(entry.features or entry.sample or b"")
        parts.append((asked, range(max(0, asked.count - left), asked.count)))
        left -= len(parts[-1][1])
    return unpack(problem, _gather(problem, parts)) if parts else None


def _features(room: Room, problem: Problem, logged: Logged) -> PackedRows:
    if logged.features is not None:
        return PackedRows.decode(logged.features)
    path = room.artifacts.path(logged.artifact or "")
    if path.suffix == ".bin":
        return PackedRows.of_file(path)
    return pack(problem, tables.rows_of(problem, path, 0, logged.rows))


def _gather(problem: Problem, parts: Sequence[tuple[PackedRows, Sequence[int]]]) -> PackedRows:
    """Chosen rows of several messages as one: joined as bytes, since a message often holds a single row."""
    width = 8 * len(problem.numbers)
    numbers = b"".join(
        packed.numbers[row * width : (row + 1) * width] if packed.count > 1 else packed.numbers
        for packed, rows in parts
        for row in rows
    )
    texts = tuple(tuple(packed.texts[k][row] for packed, rows in parts for row in rows) for k in range(len(problem.texts)))
    return PackedRows(sum(len(rows) for _, rows in parts), numbers, texts)
