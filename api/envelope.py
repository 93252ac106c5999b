"""What is on every answer: its request's id, and what keeps a browser from loading, framing or sniffing anything.

The id is the client's own where it is sane, else a fresh one; it is on each log line of the request as well.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from flask import request

from telemetry.logs import bound

SANE = re.compile(r"[A-Za-z0-9._-]{1,128}")
KEY = "continual.request_id"
POLICY = "Content-Security-Policy"  # a page of ours brings its own
SAFE = [("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")]
NOTHING = [(POLICY, "default-src 'none'; frame-ancestors 'none'")]


class Envelope:
    """WSGI middleware; outermost, so that no answer leaves without its headers."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer the request under its id."""
        given = environ.get("HTTP_X_REQUEST_ID", "")
        request_id = given if SANE.fullmatch(given) else secrets.token_hex(16)
        environ[KEY] = request_id

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            policy = [] if any(name == POLICY for name, _ in headers) else NOTHING
            return start_response(status, [*headers, *SAFE, *policy, ("X-Request-ID", request_id)], exc_info)

        with bound(request_id=request_id):
            return self._app(environ, start)


def current_request_id() -> str:
    """The id of the request that is being answered."""
    return str(request.environ[KEY])
