"""Requests with patience: a busy stack is waited for, and nothing is posted twice."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from itertools import count
from typing import IO, Any

import httpx

from continual.errors import gibberish, refusal, silence

BUSY = (429, 503)
LONGEST_PAUSE_S, LONGEST_ASKED_S = 8.0, 60.0
REPEATABLE = {"GET", "PUT"}
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
KEY = "Idempotency-Key"
Content = Callable[[], bytes | IO[bytes]]


class Transport:
    """One stack, over connections that are kept; may be used from many threads.

    Args:
        base_url: where the API is.
        token: goes into the header of each request; empty for what is open to anyone.
        timeout_s: how long an answer may take, beyond what a request itself asks to wait.
        patience_s: how long a request is tried again that met a busy stack (429, 503) or, once the stack has answered this
            client, no answer. A stack that was never there does not come by itself.
        carrier: in place of the network, for tests.
    """

    def __init__(
        self, base_url: str, token: str, timeout_s: float, patience_s: float, carrier: httpx.BaseTransport | None = None
    ) -> None:
        loopback = httpx.URL(base_url).host in LOOPBACK  # goes through no proxy; whom to trust is the environment's all the same
        self._timeout_s, self._patience_s = timeout_s, patience_s
        self._met = False
        self.http = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=64),
            trust_env=not loopback,
            verify=ssl.create_default_context() if loopback else True,
            transport=carrier,
        )

    def send(
        self,
        method: str,
        path: str,
        content: Content | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        wait_s: float = 0.0,
        allowed: tuple[int, ...] = (),
    ) -> httpx.Response:
        """The answer, its head only: whoever asks reads or closes it.

        Args:
            content: gives the body, once for each try.
            wait_s: how long the stack may hold the answer because it was asked to.
            allowed: statuses from 400 up that are answers, not refusals.

        Raises:
            ApiError: it was refused, or not answered.
        """
        given, deadline = dict(headers or {}), time.monotonic() + self._patience_s
        known = {name: value for name, value in (params or {}).items() if value is not None}
        for tried in count():
            pause = min(0.25 * 2**tried, LONGEST_PAUSE_S)
            body = content() if content else None
            request = self.http.build_request(
                method, path, content=body, headers=given, params=known, timeout=self._timeout_s + wait_s
            )
            try:
                with nullcontext() if body is None or isinstance(body, bytes) else body:  # a file is closed again
                    answer = self.http.send(request, stream=True)
            except httpx.TransportError as fault:
                error = silence(fault, request.url)
                if not self._met or not _repeatable(request, fault):
                    raise error from fault
            else:
                self._met = True
                if answer.status_code < 400 or answer.status_code in allowed:
                    return answer
                answer.read()
                error = refusal(answer)
                if answer.status_code not in BUSY:
                    raise error
                pause = _asked_pause(answer, pause)
            if time.monotonic() + pause > deadline:
                raise error
            time.sleep(pause)
        raise AssertionError("count() does not end")

    def ask(self, method: str, path: str, **more: Any) -> Any:
        """As `send`, but what the answer's JSON says.

        Raises:
            ApiError: also where the answer is not JSON.
        """
        answer = self.send(method, path, **more)
        try:
            answer.read()
            return answer.json()
        except httpx.TransportError as fault:
            raise silence(fault, answer.request.url) from fault
        except ValueError:
            raise gibberish(answer) from None

    def close(self) -> None:
        """Let the connections go."""
        self.http.close()


def _repeatable(request: httpx.Request, fault: httpx.TransportError) -> bool:
    """Whether it may be sent again: it never left, it changes nothing the second time, or its key says that it is the same."""
    never_left = isinstance(fault, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    return never_left or request.method in REPEATABLE or KEY in request.headers


def _asked_pause(answer: httpx.Response, otherwise: float) -> float:
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked), LONGEST_ASKED_S) if asked.isdecimal() else otherwise
