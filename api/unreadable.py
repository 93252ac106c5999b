"""Refusals of what cannot be read as a request: they never reach Flask, and look like all others."""

from __future__ import annotations

import secrets
from http import HTTPStatus

from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)

from api.envelope import NOTHING, SAFE
from api.errors import PROBLEM, Refused, log, problem_json, refusal_of

TOO_LATE = Refused(408, "The request came too slowly.")
TOO_LONG = Refused(431, "The headers are too long.")
STATUS: dict[type[ParseException], tuple[int, str]] = {
    LimitRequestLine: (414, "The request line is too long."),
    LimitRequestHeaders: (431, TOO_LONG.detail),
    ExpectationFailed: (417, "Expect: expected 100-continue or nothing."),
    UnsupportedTransferCoding: (501, "Transfer-Encoding: expected chunked or nothing."),
}


def refusal(fault: Exception, address: str) -> Refused:
    """How whoever sent this is answered; the log has where it came from, and nothing of what it said."""
    if not isinstance(fault, ParseException):
        return refusal_of(fault)
    log.warning("no request that can be read, from %s: %s", address, type(fault).__name__)
    otherwise = 400, f"This cannot be read as an HTTP/1.1 request ({type(fault).__name__})."
    return Refused(*STATUS.get(type(fault), otherwise))


def answer(refused: Refused) -> bytes:
    """The whole answer, after which the connection is closed."""
    request_id = secrets.token_hex(16)
    body = problem_json(refused, request_id)
    own = [("Connection", "close"), ("Content-Type", PROBLEM), ("Content-Length", str(len(body))), ("X-Request-ID", request_id)]
    lines = [f"HTTP/1.1 {refused.status} {HTTPStatus(refused.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in (*own, *refused.headers.items(), *SAFE, *NOTHING)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
