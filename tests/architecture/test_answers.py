"""`deploy/answers`, the health check of every container that listens."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from embedded.ports import free_port
from tests.architecture.law import ROOT


class Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/well" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def answers(port: int, path: str) -> bool:
    asked = subprocess.run([ROOT / "deploy" / "answers", str(port), path], capture_output=True, timeout=10, check=False)
    return asked.returncode == 0


def test_only_a_200_is_well(port: int) -> None:
    assert answers(port, "/well")
    assert not answers(port, "/ill")


def test_where_nobody_listens_nothing_is_well() -> None:
    assert not answers(free_port(), "/well")
