"""A claim that PostgreSQL has committed and whose answer never comes: nobody waits for its lease, and no attempt is lost."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import make_url

from tests.postgres import throwaway_database
from tests.workers.conftest import House
from workers import tasks

CLAIM = b"UPDATE jobs SET status = 'running'"


class Wire:
    """Between clients and their server; once it is `cut`, the next answer to a claim is kept and its connection closed."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut, self.lost = threading.Event(), 0
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):  # shut: the test is over
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._carry, args=(client,)))
                self._threads[-1].start()

    def _carry(self, client: socket.socket) -> None:
        claims = False
        with client, socket.create_connection(self._server) as server:
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(65_536)
                    claims = CLAIM in data if source is client else claims
                    lost = source is server and claims and self.cut.is_set()
                    if lost:
                        self.cut.clear()
                        self.lost += 1
                    if lost or not data:
                        return
                    (server if source is client else client).sendall(data)

    def close(self) -> None:
        """When all clients have left: no more of them."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()


@contextmanager
def wired(url: str) -> Iterator[tuple[Wire, str]]:
    """A wire to this database, and the URL that leads through it."""
    there = make_url(url)
    wire = Wire((there.host or "127.0.0.1", there.port or 5432))
    try:
        yield wire, there.set(host="127.0.0.1", port=wire.port).render_as_string(hide_password=False)
    finally:
        wire.close()


@pytest.mark.postgres
def test_a_claim_whose_answer_is_lost_is_made_again_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions and other jobs alike: answered by the same task, in their first attempt."""
    monkeypatch.setattr("storage.ids._last", 0)
    with throwaway_database() as url, wired(url) as (wire, through):
        house = House(tmp_path, database_url=through)
        house.declare()
        house.tick()
        rows = np.ones((1, 2))
        house.db.close()  # a statement's words are sent once a connection: new ones
        wire.cut.set()
        job = house.job(house.predict(rows))
        assert (wire.lost, job.status, job.attempt) == (1, "succeeded", 1)
        check = house.post("check")
        house.db.close()
        wire.cut.set()
        tasks.carry(house.room, "check", [check], "task")
        assert (wire.lost, house.job(check).status, house.job(check).attempt) == (2, "succeeded", 1)
        house.room.close()
