"""What people changed: one row for each change, written in the change's own transaction where it has one, and never pruned."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from storage.pages import Page, page
from storage.schema import audit


@dataclass(frozen=True, slots=True)
class Act:
    """One change: who (`token_id` is `api_key` for that of the environment), what, on what, from where, by which request."""

    id: str
    at: float
    token_id: str
    token_name: str
    role: str
    action: str
    subject: str
    detail: str
    address: str
    request_id: str


def _of(row: Row[Any]) -> Act:
    return Act(*tuple(row))


def add(tx: Connection, act: Act) -> None:
    tx.execute(insert(audit).values(asdict(act)))


def listed(tx: Connection, limit: int, cursor: str | None) -> Page[Act]:
    """A page of acts, newest first."""
    return page(tx, select(audit), audit.c.id, limit, cursor, _of)
