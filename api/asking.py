"""What a request asks for beside its body: query parameters, `Prefer`, `Idempotency-Key`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from flask import request

from api.errors import unprocessable

MOST_WAIT_S = 60.0
DEFAULT_LIMIT, MOST_LIMIT = 20, 100
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?=$|[,;])")
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,254}[\x21-\x7e])?")


@dataclass(frozen=True, slots=True)
class Asked:
    """How a POST wants to be answered."""

    wait_s: float
    key: str | None


def asked() -> Asked:
    """Read `Prefer` (what it does not understand is ignored, RFC 7240) and `Idempotency-Key`.

    Raises:
        Refused: 422, the key is not 1 to 256 printable ASCII characters.
    """
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise unprocessable((("Idempotency-Key",), "expected 1 to 256 printable ASCII characters"))
    return Asked(preferred_wait_s(request.headers.get("Prefer", "")), key)


def preferred_wait_s(prefer: str) -> float:
    """Seconds that a `Prefer` header asks to wait; 0 where it says nothing of that."""
    wait = _WAIT.search(prefer)
    return min(MOST_WAIT_S, float(wait[1])) if wait else 0.0


def wait_of_query() -> float:
    """`?wait=`, seconds.

    Raises:
        Refused: 422, it is not a number from 0 to 60.
    """
    text = request.args.get("wait", "0")
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII) or float(text) > MOST_WAIT_S:
        raise unprocessable((("wait",), f"expected seconds from 0 to {MOST_WAIT_S:.0f}"))
    return float(text)


def limit_of_query() -> int:
    """`?limit=`.

    Raises:
        Refused: 422, it is not a whole number from 1 to 100.
    """
    text = request.args.get("limit", str(DEFAULT_LIMIT))
    if not re.fullmatch(r"\d{1,3}", text, re.ASCII) or not 1 <= int(text) <= MOST_LIMIT:
        raise unprocessable((("limit",), f"expected a whole number from 1 to {MOST_LIMIT}"))
    return int(text)


def page_of_query() -> tuple[int, str | None]:
    """`?limit=` and `?cursor=`; the list itself refuses a broken cursor."""
    return limit_of_query(), request.args.get("cursor")


def choice_of_query(name: str, allowed: Sequence[str]) -> str | None:
    """A query parameter that has to be one of `allowed` where it is given.

    Raises:
        Refused: 422.
    """
    value = request.args.get(name)
    if value is not None and value not in allowed:
        raise unprocessable(((name,), f"expected one of {', '.join(allowed)}"))
    return value
