"""Idempotency keys: per token and path, which body was posted under a key, and which job it made."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, select

from storage.dialects import upsert
from storage.schema import idempotency


@dataclass(frozen=True, slots=True)
class Key:
    """One use of a key; `body_hash` is the hex SHA-256 over query, media type and body."""

    token_id: str
    path: str
    key: str
    body_hash: str
    job_id: str
    created_at: float


def find(tx: Connection, token_id: str, path: str, key: str) -> Key | None:
    """What the key was used for, if it was."""
    query = select(idempotency).where(idempotency.c.token_id == token_id, idempotency.c.path == path, idempotency.c.key == key)
    row = tx.execute(query).first()
    return Key(*row) if row else None


def add(tx: Connection, used: Key) -> bool:
    """Bind a key to its job; False if another request did so first."""
    statement = upsert(tx, idempotency).values(asdict(used)).on_conflict_do_nothing()
    return bool(tx.execute(statement.returning(idempotency.c.job_id)).first())


def forget(tx: Connection, before: float) -> int:
    """Drop keys older than a moment."""
    return tx.execute(delete(idempotency).where(idempotency.c.created_at < before)).rowcount
