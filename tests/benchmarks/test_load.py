"""The bench's client believes nobody: against a small server of this file."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.load import Crowd, Failed, Later, http

ROWS = [[0.25], [0.5]]


class Handler(BaseHTTPRequestHandler):
    """Answers `said` of a row: itself where the path asks nothing else, after one poll where it is /poll, wrongly at /wrong."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        row = json.loads(self.rfile.read(int(self.headers["Content-Length"])))[0]
        if self.path == "/broken":
            self.close_connection = True
            return
        answer = {"/poll": {"later": row}, "/wrong": {"said": row + 0.1}}.get(self.path, {"said": row})
        self._send(500 if self.path == "/fails" else 200, answer)

    def do_GET(self) -> None:
        self._send(200, {"said": float(self.path[1:])})

    def _send(self, status: int, answer: dict[str, float]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Speaks:
    """The handler's language; the model's name is its path."""

    def ask(self, model: str, row: Sequence[float]) -> bytes:
        return http("POST", f"/{model}", json.dumps(row).encode())

    def read(self, status: int, body: bytes) -> float | Later:
        if status != 200:
            raise Failed(str(status))
        answer = json.loads(body)
        return Later(http("GET", f"/{answer['later']}")) if "later" in answer else float(answer["said"])


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def crowd(port: int, path: str) -> Crowd:
    return Crowd(Speaks(), port, path, ROWS, [row[0] for row in ROWS])


@pytest.mark.parametrize("path", ["plain", "poll"])
def test_right_answers_are_counted_with_their_latency(port: int, path: str) -> None:
    """At once or after a poll."""
    taken = crowd(port, path).closed(3, 0.1)
    assert taken.failed == 0
    assert len(taken.done) == len(taken.first) >= 3
    assert all(0 < first <= done < 5 for first, done in zip(sorted(taken.first), sorted(taken.done), strict=True))


@pytest.mark.parametrize(("path", "fault"), [("wrong", "a wrong answer"), ("fails", "500"), ("broken", "closed")])
def test_anything_else_is_a_failed_request(port: int, path: str, fault: str) -> None:
    """A wrong probability, a status that is not 200, and a connection that breaks."""
    taken = crowd(port, path).closed(2, 0.05)
    assert taken.done == []
    assert taken.failed >= 2
    assert all(fault in each for each in taken.faults)


def test_arrivals_are_asked_when_they_are_due_however_many_are_under_way(port: int) -> None:
    """Each arrival makes one request; the load takes as long as its schedule."""
    taken = crowd(port, "plain").opened([0.0, 0.0, 0.0, 0.2])
    assert (len(taken.done), taken.failed) == (4, 0)
    assert 0.2 <= taken.seconds < 5
