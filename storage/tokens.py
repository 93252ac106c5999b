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
    successor: str | None = None  # the token that a rotation made of it


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


def succeed(tx: Connection, token_id: str, successor: str, at: float) -> bool:
    """Let a token end at a moment, with another in its place; False if it has one already."""
    alone = (tokens.c.id == token_id, tokens.c.successor.is_(None))
    return bool(tx.execute(update(tokens).where(*alone).values(expires_at=at, successor=successor)).rowcount)


def remove(tx: Connection, token_id: str) -> bool:
    """Revoke a token; False if there is none of this id."""
    return bool(tx.execute(delete(tokens).where(tokens.c.id == token_id)).rowcount)


def listed(tx: Connection, limit: int, cursor: str | None) -> Page[Token]:
    """A page of tokens, newest first."""
    return page(tx, select(tokens), tokens.c.id, limit, cursor, _of)
