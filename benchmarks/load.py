"""The client: many keep-alive connections on one thread over epoll, because it shares the cores with what it measures.

It costs 30 to 60 µs a request, and says how much it took. Every answer is compared with a direct `predict_proba`.
"""

from __future__ import annotations

import heapq
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

TOLERANCE = 1e-9  # of a probability
POLL_FIRST_S, POLL_GROWS, POLL_MOST_S = 0.002, 2.0, 0.25  # a poller's pauses: it asks soon, then less and less often
FINISH_S = 60.0  # how long the requests that are under way may take after the end


class Failed(Exception):
    """An answer that is no prediction; says why."""


@dataclass(frozen=True, slots=True)
class Later:
    """Not done yet: ask with `request` after a pause that grows."""

    request: bytes


class Talk(Protocol):
    """How one speaks to a system under test."""

    def ask(self, model: str, row: Sequence[float]) -> bytes:
        """The HTTP request that asks for a prediction of one row."""

    def read(self, status: int, body: bytes) -> float | Later | None:
        """The probability of class 1 in an answer, or what to ask next; None for an acceptance that is all that was wanted.

        Raises:
            Failed: the answer is neither.
        """


class Accepting(Talk, Protocol):
    """How one posts without waiting for predictions."""

    def settle(self) -> None:
        """Wait until everything that was accepted has ended."""


@dataclass(slots=True)
class Taken:
    """What a round came to, in seconds; `first` is until the first answer to each request (the 202 where there is one)."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    done: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    failed: int = 0
    faults: set[str] = field(default_factory=set)

    @property
    def rate(self) -> float:
        """Predictions a second."""
        return len(self.done) / self.seconds


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(slots=True)
class _Line:
    """One connection, and the request that it carries: the number `asked` of all, about row `row`; -1 while idle."""

    socket: socket.socket
    received: bytes = b""
    request: bytes = b""
    row: int = -1
    asked: int = 0
    began: float = 0.0
    answered: bool = False
    pause_s: float = POLL_FIRST_S


class Crowd:
    """Clients that ask a system for one-row predictions.

    Args:
        rows: what is asked, in turn.
        expected: the probability of class 1 of each row.
    """

    def __init__(self, talk: Talk, port: int, model: str, rows: Sequence[Sequence[float]], expected: Sequence[float]) -> None:
        self._talk, self._port, self._expected = talk, port, expected
        self._requests = [talk.ask(model, row) for row in rows]
        self._poll = select.epoll()
        self._lines: dict[int, _Line] = {}
        self._pauses: list[tuple[float, int, _Line]] = []
        self._next = 0
        self._taken = Taken()

    def closed(self, clients: int, seconds: float) -> Taken:
        """So many clients, each of which asks again as soon as it is answered."""
        cpu, began = time.process_time(), time.perf_counter()
        end = began + seconds
        for _ in range(clients):
            self._begin(self._connect(), began)
        while self._busy():
            now = time.perf_counter()
            for line in self._turn(now, 0.05):
                if time.perf_counter() < end:
                    self._begin(line, time.perf_counter())
            self._give_up(now, end + FINISH_S)
        return self._close(began, cpu)

    def opened(self, arrivals: Sequence[float]) -> Taken:
        """A request at each of these times (seconds from the start), whatever became of those before it.

        Latency counts from the time at which the request was due, so that a late client hides nothing.
        """
        cpu, began = time.process_time(), time.perf_counter()
        due, idle = deque(began + at for at in arrivals), deque[_Line]()
        last = due[-1]
        while due or self._busy():
            now = time.perf_counter()
            while due and due[0] <= now:
                self._begin(idle.popleft() if idle else self._connect(), due.popleft())
            idle += self._turn(now, max(0.0, min(0.05, due[0] - time.perf_counter()) if due else 0.05))
            self._give_up(now, last + FINISH_S)
        return self._close(began, cpu)

    # ---- one turn

    def _turn(self, now: float, wait_s: float) -> list[_Line]:
        """Send what is due, read what came; the lines whose request is over."""
        while self._pauses and self._pauses[0][0] <= now:
            _, asked, pausing = heapq.heappop(self._pauses)
            if pausing.asked == asked:
                self._send(pausing)
        if self._pauses:
            wait_s = max(0.0, min(wait_s, self._pauses[0][0] - time.perf_counter()))
        return [
            line for number, _ in self._poll.poll(wait_s) if (line := self._lines.get(number)) is not None and self._receive(line)
        ]

    def _begin(self, line: _Line, at: float) -> None:
        line.asked, line.row = self._next, self._next % len(self._requests)
        self._next += 1
        line.request, line.began, line.answered, line.pause_s = self._requests[line.row], at, False, POLL_FIRST_S
        self._send(line)

    def _send(self, line: _Line) -> None:
        try:
            line.socket.sendall(line.request)
        except OSError:  # the server has closed an idle connection
            self._reconnect(line)
            line.socket.sendall(line.request)

    def _receive(self, line: _Line) -> bool:
        """Read; True if the request is over."""
        try:
            data = line.socket.recv(65_536)
        except ConnectionError:
            data = b""
        if not data:
            self._reconnect(line)
            return line.row >= 0 and self._fail(line, "the connection was closed")
        line.received += data
        head, found, body = line.received.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return False
        line.received = b""
        return self._answered(line, int(head[9:12]), body)

    def _answered(self, line: _Line, status: int, body: bytes) -> bool:
        now = time.perf_counter()
        if not line.answered:
            line.answered = True
            self._taken.first.append(now - line.began)
        try:
            said = self._talk.read(status, body)
        except Failed as why:
            return self._fail(line, str(why))
        if isinstance(said, Later):
            line.request = said.request
            heapq.heappush(self._pauses, (now + line.pause_s, line.asked, line))
            line.pause_s = min(line.pause_s * POLL_GROWS, POLL_MOST_S)
            return False
        if said is not None and abs(said - self._expected[line.row]) > TOLERANCE:
            return self._fail(line, f"a wrong answer: {said}, expected {self._expected[line.row]}")
        line.row = -1
        self._taken.done.append(now - line.began)
        return True

    def _fail(self, line: _Line, why: str) -> bool:
        line.row = -1
        self._taken.failed += 1
        self._taken.faults.add(why)
        return True

    # ---- connections

    def _connect(self) -> _Line:
        made = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poll.register(made, select.EPOLLIN)
        line = self._lines[made.fileno()] = _Line(made)
        return line

    def _reconnect(self, line: _Line) -> None:
        self._drop(line)
        made = self._connect()
        line.socket, line.received = made.socket, b""
        self._lines[line.socket.fileno()] = line

    def _drop(self, line: _Line) -> None:
        self._poll.unregister(line.socket)
        del self._lines[line.socket.fileno()]
        line.socket.close()

    def _busy(self) -> bool:
        return any(line.row >= 0 for line in self._lines.values())

    def _give_up(self, now: float, end: float) -> None:
        if now > end:
            for line in self._lines.values():
                if line.row >= 0:
                    self._fail(line, f"no answer within {FINISH_S:g} s after the end")

    def _close(self, began: float, cpu: float) -> Taken:
        self._taken.seconds, self._taken.cpu_s = time.perf_counter() - began, time.process_time() - cpu
        for line in list(self._lines.values()):
            self._drop(line)
        self._poll.close()
        return self._taken


def _length(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    if at < 0:
        raise Failed(f"an answer without Content-Length: {head[:80]!r}")
    return int(lower[at + 17 :].split(b"\r\n", 1)[0])


def http(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """A request for the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "", ""]).encode() + body
