"""API tokens: only their SHA-256 is stored."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from storage.pages import Page, page
from storage.schema import tokens


@dataclass(frozen=True, slots=True)
class Token:
    """A token's row; `hash` is the hex SHA-256 of the secret."""

    id: str
    name: str
    role: str
    hash: str
    created_at: float
    expires_at: float | None


def _of(row: Row[Any]) -> Token:
    return Token(*tuple(row))


def add(tx: Connection, token: Token) -> None:
    tx.execute(insert(tokens).values(asdict(token)))


def find(tx: Connection, digest: str) -> Token | None:
    """The token with this hash; whether it has expired is for the caller to see."""
    row = tx.execute(select(tokens).where(tokens.c.hash == digest)).first()
    return _of(row) if row else None


def get(tx: Connection, token_id: str) -> Token | None:
    row = tx.execute(select(tokens).where(tokens.c.id == token_id)).first()
    return _of(row) if row else None


def expire(tx: Connection, token_id: str, at: float) -> None:
    """Let a token end at a moment."""
    tx.execute(update(tokens).where(tokens.c.id == token_id).values(expires_at=at))


def remove(tx: Connection, token_id: str) -> bool:
    """Revoke a token; False if there is none of this id."""
    return bool(tx.execute(delete(tokens).where(tokens.c.id == token_id)).rowcount)


def listed(tx: Connection, limit: int, cursor: str | None) -> Page[Token]:
    """A page of tokens, newest first."""
    return page(tx, select(tokens), tokens.c.id, limit, cursor, _of)
