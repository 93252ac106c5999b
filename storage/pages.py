"""Lists, newest first, page by page. A cursor is the key of the page's last entry, so pages hold while new entries arrive."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, Connection, Row, Select

T = TypeVar("T")


class BrokenCursor(ValueError):
    """A cursor that this list never gave out."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """Entries and the cursor of the next page, or None at the end."""

    entries: list[T]
    next_cursor: str | None


def page(
    tx: Connection,
    query: Select[Any],
    key: Column[Any],
    limit: int,
    cursor: str | None,
    make: Callable[[Row[Any]], T],
) -> Page[T]:
    """The `limit` entries of `query` after `cursor`, by `key` descending; `key` is unique within the list.

    Raises:
        BrokenCursor: the cursor is not one of ours.
    """
    if cursor is not None:
        query = query.where(key < decode_cursor(cursor, key))
    rows: Sequence[Row[Any]] = tx.execute(query.order_by(key.desc()).limit(limit + 1)).all()
    more = len(rows) > limit
    last = str(rows[limit - 1]._mapping[key.name]) if more else ""
    return Page([make(row) for row in rows[:limit]], encode_cursor(last) if more else None)


def encode_cursor(key: str) -> str:
    return base64.urlsafe_b64encode(f"k:{key}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str, key: Column[Any]) -> Any:
    try:
        text = base64.b64decode((cursor + "=" * (-len(cursor) % 4)).encode(), altchars=b"-_", validate=True).decode()
        if not text.startswith("k:") or "\x00" in text or len(text) > 200:
            raise ValueError("not a key")
        return key.type.python_type(text[2:])
    except (ValueError, binascii.Error):
        raise BrokenCursor("cursor: expected the next_cursor of an earlier page") from None
