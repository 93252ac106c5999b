"""Models: what was declared, which version is champion, and how long each one's history of labelled rows is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, update

from problems.declaration import Problem, changed_meaning, parse_problem
from storage import ledger
from storage.claims import SERVING, Served
from storage.dialects import fetch, upsert
from storage.pages import Page, page
from storage.schema import models


@dataclass(frozen=True, slots=True)
class Model:
    """A row of `models`; positions count labelled rows, `tail` <= 0 <= `head`."""

    name: str
    declared: Mapping[str, Any]
    source: str
    created_at: float
    updated_at: float
    champion: str | None
    alias_pending: bool
    classes: list[Any] | None
    head: int
    tail: int
    attempt_head: int
    attempt_rows: int
    follow_up_at: int | None
    change_position: int | None
    performance: float | None
    drifting: bool
    last_check_at: float | None
    last_trained_at: float | None

    @property
    def rows(self) -> int:
        """Labelled rows in its history."""
        return self.head - self.tail

    def interval_s(self, every: float) -> float:
        """Seconds between two of its checks, where all models are looked at each `every` seconds."""
        return max(every, float(self.declared.get("interval_s") or 0.0))

    @property
    def problem(self) -> Problem:
        """What was declared, typed."""
        return parse_problem(self.name, dict(self.declared), self.source)


class MeaningChanged(ValueError):
    """A declaration would give another meaning to the rows that a model has; `keys` are what it changes."""

    def __init__(self, model: Model, keys: Sequence[str]) -> None:
        told, rows = ", ".join(keys), f"{model.rows} labelled rows"
        super().__init__(f"{told} cannot change: '{model.name}' has {rows}. Declare another model.")
        self.keys = keys


def _of(row: Row[Any]) -> Model:
    return Model(*tuple(row))


def get(tx: Connection, name: str) -> Model | None:
    row = tx.execute(select(models).where(models.c.name == name)).first()
    return _of(row) if row else None


def serving(tx: Connection, name: str) -> Served | None:
    """Who serves a model; None if there is no such model."""
    rows = fetch(tx, f"{SERVING} WHERE name = ?", name)
    return Served(*rows[0]) if rows else None


def lock(tx: Connection, name: str) -> Model:
    """The model, its row locked until the transaction ends.

    Raises:
        KeyError: there is no such model.
    """
    row = tx.execute(select(models).where(models.c.name == name).with_for_update()).first()
    if row is None:
        raise KeyError(name)
    return _of(row)


def listed(tx: Connection, limit: int, cursor: str | None) -> Page[Model]:
    """A page of models, by name descending (names, unlike ids, carry no time)."""
    return page(tx, select(models), models.c.name, limit, cursor, _of)


def names(tx: Connection) -> list[str]:
    return list(tx.execute(select(models.c.name).order_by(models.c.name)).scalars())


def every(tx: Connection) -> list[Model]:
    """All models, by name."""
    return [_of(row) for row in tx.execute(select(models).order_by(models.c.name))]


def declare(tx: Connection, name: str, declared: Mapping[str, Any], source: str, now: float) -> bool:
    """Create or change a model; a change keeps its champion and its history. True if it was created.

    Predictions that wait for a first champion fail if their rows would mean something else to it (`ledger.forget_rows`).

    Raises:
        MeaningChanged: its labelled rows would.
    """
    values = {"declared": dict(declared), "source": source, "updated_at": now}
    fresh = upsert(tx, models).values(name=name, created_at=now, **values).on_conflict_do_nothing()
    if tx.execute(fresh.returning(models.c.name)).first():
        return True
    before = lock(tx, name)
    changed = changed_meaning(before.declared, declared)
    if changed and before.rows:
        raise MeaningChanged(before, changed)
    if changed:
        told = ", ".join(changed)
        ledger.forget_rows(tx, name, f"'{name}' was declared anew ({told}) before it had a champion: post again.", now)
    change(tx, name, **values)
    return False


def change(tx: Connection, name: str, **values: Any) -> None:
    """Set columns of a model."""
    tx.execute(update(models).where(models.c.name == name).values(values))


def take_positions(tx: Connection, name: str, count: int) -> int:
    """Reserve `count` positions at the end of the model's history; returns the first.

    The row stays locked until commit, so positions become visible in their order.
    """
    statement = update(models).where(models.c.name == name).values(head=models.c.head + count).returning(models.c.head)
    return int(tx.execute(statement).scalar_one()) - count


def take_positions_below(tx: Connection, name: str, count: int) -> int:
    """Reserve `count` positions before the model's history; returns the first."""
    statement = update(models).where(models.c.name == name).values(tail=models.c.tail - count).returning(models.c.tail)
    return int(tx.execute(statement).scalar_one())
