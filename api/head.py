"""The head of a plain `POST /predict`, read straight from the connection's bytes.

Whatever is not exactly what this file knows is not its business: gunicorn and Flask then read the same bytes. So it
may be stricter than they are, never more lenient.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from api.asking import preferred_wait_s
from api.envelope import SANE

REQUEST: Final = b"POST /predict HTTP/1.1\r\n"
END: Final = b"\r\n\r\n"
MOST_HEAD: Final = 4096
MOST_BODY: Final = 64 << 10  # larger ones are read in threads
JSON_TYPES: Final = {"application/json", "application/json;charset=utf-8"}
READ: Final = {"host", "authorization", "content-type", "content-length", "prefer", "x-request-id", "connection"}
IGNORED: Final = {
    *("accept", "accept-charset", "accept-encoding", "accept-language", "baggage", "cache-control", "dnt", "origin"),
    *("pragma", "priority", "referer", "traceparent", "tracestate", "user-agent", "x-forwarded-for", "x-real-ip"),
}
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")


class NotPlain(Exception):
    """The request is another's to answer."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a plain request's head says: its own length and the body's, in bytes, and what is asked for."""

    size: int
    length: int
    token: str
    wait_s: float
    request_id: str | None


def read_head(data: bytes) -> Head | None:
    """The head at the beginning of these bytes; None if it has not arrived whole.

    Raises:
        NotPlain: this is no plain request, or not known to be one.
    """
    if not data.startswith(REQUEST) and not REQUEST.startswith(data):
        raise NotPlain
    end = data.find(END, 0, MOST_HEAD)
    if end < 0:
        if len(data) >= MOST_HEAD:
            raise NotPlain
        return None
    return _read(data[:end])


@lru_cache(maxsize=512)
def _read(head: bytes) -> Head:
    """A client says the same again and again."""
    fields = _fields(head[len(REQUEST) :].decode("latin-1"))
    length = fields.get("content-length", "")
    if not length.isdecimal() or not 0 < int(length[:9]) <= MOST_BODY or len(length) > 9:
        raise NotPlain
    plain = (
        _HOST.fullmatch(fields.get("host", "")),
        fields.get("content-type", "").lower().replace(" ", "") in JSON_TYPES,
        fields.get("connection", "keep-alive").lower() == "keep-alive",
    )
    scheme, _, token = fields.get("authorization", "").partition(" ")
    if not all(plain) or scheme.lower() != "bearer":
        raise NotPlain
    given = fields.get("x-request-id", "")
    sane = given if SANE.fullmatch(given) else None
    return Head(len(head) + len(END), int(length), token.strip(), preferred_wait_s(fields.get("prefer", "")), sane)


def _fields(text: str) -> dict[str, str]:
    """The header fields that matter; each may stand there once, in visible ASCII."""
    lines = text.split("\r\n")
    if not text.isascii() or not "".join(lines).isprintable():
        raise NotPlain
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if name in READ and name not in found and colon:
            found[name] = value.strip(" ")
        elif name not in IGNORED or not colon:
            raise NotPlain
    return found
