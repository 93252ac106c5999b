"""One turn of the server's loop: what becomes of a connection in it holds for the rest of the turn."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.config import Config

from api.server import Line, Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A worker with its connections' books and room for one connection, without the server around it."""
    made = object.__new__(Worker)
    made.poller, made.nr_conns, made.worker_connections = selectors.DefaultSelector(), 0, 2
    made.keepalived_conns, made._parting = set(), {}
    yield made
    made.poller.close()


def connected(worker: Worker) -> tuple[Line, socket.socket]:
    """A connection of the worker's, and its peer."""
    ours, peer = socket.socketpair()
    worker.nr_conns += 1
    return Line(Config(), ours, ("127.0.0.1", 1), ("127.0.0.1", 2)), peer


@pytest.mark.parametrize("parts", [False, True], ids=["rests", "parts"])
def test_a_connection_closed_for_a_new_one_is_not_read_in_the_same_turn(worker: Worker, parts: bool) -> None:
    """Both are ready at once, the new one is accepted first, and the old one goes to make room: its event is nobody's.

    It ended the whole server: what is no longer in the books cannot be taken out of them.
    """
    line, peer = connected(worker)
    (worker._part if parts else worker._rest)(line)
    peer.close()
    ready: list[tuple[Any, int]] = worker.poller.select(0)
    assert len(ready) == 1
    worker._make_room()
    for key, _ in ready:
        key.data(key.fileobj)
    assert (worker.nr_conns, worker.keepalived_conns, worker._parting) == (0, set(), {})
