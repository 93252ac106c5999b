"""Signs of life: which processes work for this ledger, on which queues, and when they were last seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, select

from storage.dialects import upsert
from storage.schema import heartbeats

FORGET_S = 300.0  # one that is down for longer is no longer shown
SILENT_S = 20.0  # a process that wrote no sign of life for so many seconds is down


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One process: `component` is worker, beat, sweeper or registry; `queues` comma-separated.

    `cpu_s` (seconds), `resident` (bytes) and `files` (open ones) are its own and its children's together, where that is known.
    """

    name: str
    component: str
    queues: str
    ok: bool
    detail: str
    seen_at: float
    cpu_s: float | None = None
    resident: int | None = None
    files: int | None = None


def beat(tx: Connection, sign: Heartbeat) -> None:
    """Note a sign of life."""
    values = asdict(sign)
    statement = upsert(tx, heartbeats).values(values)
    tx.execute(statement.on_conflict_do_update(index_elements=["name"], set_={k: v for k, v in values.items() if k != "name"}))


def leave(tx: Connection, name: str) -> None:
    """Forget a process that says goodbye."""
    tx.execute(delete(heartbeats).where(heartbeats.c.name == name))


def seen(tx: Connection, since: float) -> list[Heartbeat]:
    """Processes seen since a moment."""
    query = select(heartbeats).where(heartbeats.c.seen_at >= since).order_by(heartbeats.c.name)
    return [Heartbeat(*row) for row in tx.execute(query)]


def forget(tx: Connection, before: float) -> int:
    """Drop processes not seen since a moment."""
    return tx.execute(delete(heartbeats).where(heartbeats.c.seen_at < before)).rowcount
