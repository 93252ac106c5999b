"""Datasets: labelled rows that arrived as a table or were generated. The rows are a file, the row here says where they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, insert, select

from storage.models import take_positions, take_positions_below
from storage.pages import Page, page
from storage.schema import datasets

Source = Literal["upload", "backfill", "generated"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A stored dataset: `rows` kept, `rejected` left out; its rows hold positions [position, position + rows)."""

    id: str
    job_id: str
    model: str
    rows: int
    rejected: int
    source: Source
    report: Mapping[str, Any]
    artifact: str
    sha256: str
    position: int
    created_at: float


@dataclass(frozen=True, slots=True)
class NewDataset:
    """A dataset whose file is written, about to get its place in the model's history."""

    id: str
    job_id: str
    model: str
    rows: int
    rejected: int
    source: Source
    report: Mapping[str, Any]
    artifact: str
    sha256: str


def _of(row: Row[Any]) -> Dataset:
    return Dataset(*tuple(row))


def add(tx: Connection, new: NewDataset, now: float) -> Dataset:
    """Store a dataset: newest of its model's history, or, for a backfill, older than all other rows."""
    take = take_positions_below if new.source == "backfill" else take_positions
    position = take(tx, new.model, new.rows)
    dataset = Dataset(**{name: getattr(new, name) for name in NewDataset.__slots__}, position=position, created_at=now)
    tx.execute(insert(datasets).values({name: getattr(dataset, name) for name in Dataset.__slots__}))
    return dataset


def get(tx: Connection, dataset_id: str) -> Dataset | None:
    row = tx.execute(select(datasets).where(datasets.c.id == dataset_id)).first()
    return _of(row) if row else None


def of_job(tx: Connection, job_id: str) -> Dataset | None:
    """The dataset that a job made."""
    row = tx.execute(select(datasets).where(datasets.c.job_id == job_id)).first()
    return _of(row) if row else None


def listed(tx: Connection, limit: int, cursor: str | None) -> Page[Dataset]:
    """A page of datasets, newest first."""
    return page(tx, select(datasets), datasets.c.id, limit, cursor, _of)


def between(tx: Connection, model: str, start: int, stop: int) -> list[Dataset]:
    """The model's datasets that hold a position in [start, stop), oldest first."""
    mine = datasets.c.model == model
    before = select(func.max(datasets.c.position)).where(mine, datasets.c.position <= start).scalar_subquery()
    first = func.coalesce(before, start)  # they do not overlap: of those that begin before, only the last can reach so far
    query = select(datasets).where(mine, datasets.c.position >= first, datasets.c.position < stop)
    found = [_of(row) for row in tx.execute(query.order_by(datasets.c.position))]
    return [each for each in found if each.position + each.rows > start]
