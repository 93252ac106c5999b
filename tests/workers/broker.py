"""A broker of a test module's own."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from embedded.broker import find_server
from embedded.ports import free_port


@contextmanager
def own_broker() -> Iterator[str]:
    """The URL of a Valkey or Redis that keeps nothing."""
    port = free_port()
    command = [find_server().path, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10
        while not _answers(port):
            assert time.monotonic() < end and server.poll() is None
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.kill()
        server.wait(10)


def _answers(port: int) -> bool:
    with redis.Redis(port=port, socket_timeout=1) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
