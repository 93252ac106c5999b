"""Leases: while a job runs, a thread of its process says so to the ledger; a claim that was lost is noticed here."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from loguru import logger
from sqlalchemy.exc import DBAPIError

from storage import heartbeats, ledger
from storage.database import Database
from storage.heartbeats import Heartbeat

MOST_S = 5.0  # between two signs of life, however long the lease


class ClaimLost(Exception):
    """The job was cancelled, or its worker was taken for dead: whatever it makes now is discarded."""


class Claim:
    """One claim of jobs: its owner token, and whether the ledger still knows it."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._lost = threading.Event()

    def lose(self) -> None:
        self._lost.set()

    def check(self) -> None:
        """Call between the steps of long work.

        Raises:
            ClaimLost: nobody waits for the result any more.
        """
        if self._lost.is_set():
            raise ClaimLost(self.owner)


class Leases:
    """The claims of this process and the thread that keeps them alive, every quarter of a lease.

    Args:
        worker: name of the worker that this process belongs to; owner tokens start with it.
        queues: comma-separated names, for the sign of life.
    """

    def __init__(self, db: Database, worker: str, queues: str, lease_s: float, clock: Callable[[], float]) -> None:
        self.db, self.worker, self.queues, self.lease_s, self.clock = db, worker, queues, lease_s, clock
        self._claims: dict[str, Claim] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=3)

    def owner(self) -> str:
        """A fresh owner token."""
        return f"{self.worker}/{uuid.uuid4().hex}"

    @contextmanager
    def holding(self, owner: str) -> Iterator[Claim]:
        """Keep the leases of this claim alive until the end of the block."""
        claim = self._claims[owner] = Claim(owner)
        try:
            yield claim
        finally:
            del self._claims[owner]

    def _run(self) -> None:
        wait = min(self.lease_s / 4, MOST_S)
        while not self._stop.wait(wait):
            try:
                self._beat()
                wait = min(self.lease_s / 4, MOST_S)
            except DBAPIError as fault:
                logger.warning("no sign of life could be written: {}", type(fault.orig).__name__)
                wait = 0.5

    def _beat(self) -> None:
        claims = dict(self._claims)
        now = self.clock()
        with self.db.begin() as tx:
            kept = ledger.heartbeat(tx, list(claims), now, self.lease_s) if claims else set()
            heartbeats.beat(tx, Heartbeat(self.worker, "worker", self.queues, True, "", now))
        for owner in claims.keys() - kept:
            if owner in self._claims:  # still at work: it did not simply finish meanwhile
                claims[owner].lose()
