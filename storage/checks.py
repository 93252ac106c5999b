"""Drift checks: what each one compared and decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from storage.dialects import among, fetch
from storage.ids import first_id
from storage.pages import Page, page
from storage.schema import checks


@dataclass(frozen=True, slots=True)
class Check:
    """A finished check; `result` is what its job answers, with every statistic that was compared."""

    id: str
    job_id: str
    model: str
    created_at: float
    result: Mapping[str, Any]


def _of(row: Row[Any]) -> Check:
    return Check(*tuple(row))


def add(tx: Connection, check: Check) -> None:
    tx.execute(insert(checks).values(asdict(check)))


def listed(tx: Connection, model: str, limit: int, cursor: str | None) -> Page[Check]:
    """A page of the model's checks, newest first."""
    return page(tx, select(checks).where(checks.c.model == model), checks.c.id, limit, cursor, _of)


def since(tx: Connection, model: str, moment: float, most: int) -> list[Check]:
    """The model's checks after a moment, the newest `most` of them, newest first."""
    query = select(checks).where(checks.c.model == model, checks.c.id >= first_id(moment))
    return [_of(row) for row in tx.execute(query.order_by(checks.c.id.desc()).limit(most))]


def head_before(tx: Connection, model: str, moment: float) -> int:
    """Where the model's history ended at its last check before a moment; 0 if there was none. One step in an index."""
    query = select(checks.c.result).where(checks.c.model == model, checks.c.id < first_id(moment))
    result = tx.execute(query.order_by(checks.c.id.desc()).limit(1)).scalar()
    return int(result.get("head", 0)) if result else 0


_NEWEST_BEFORE = "SELECT id FROM checks WHERE model = ? AND id < ? ORDER BY id DESC LIMIT 1"


def sampled(tx: Connection, model: str, moments: Iterable[float]) -> list[Check]:
    """The model's newest check before each of these moments (epoch seconds), each once, oldest first.

    One step in an index for each moment, however many checks there are between two of them.
    """
    found = {row[0] for at in moments for row in fetch(tx, _NEWEST_BEFORE, model, first_id(at))}
    query = select(checks).where(among(tx, checks.c.id, sorted(found))).order_by(checks.c.id)
    return [_of(row) for row in tx.execute(query)]


def first_at(tx: Connection, model: str) -> float | None:
    """When the model was first checked."""
    return tx.execute(select(checks.c.created_at).where(checks.c.model == model).order_by(checks.c.id).limit(1)).scalar()


def last(tx: Connection, model: str) -> Check | None:
    row = tx.execute(select(checks).where(checks.c.model == model).order_by(checks.c.id.desc()).limit(1)).first()
    return _of(row) if row else None
