"""Leases: while a job runs, a thread of its process says so to the ledger; a claim that was lost is noticed here."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from loguru import logger
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from jobs.kinds import POLICIES
from storage import heartbeats, ledger, tallies
from storage.database import Database
from storage.heartbeats import Heartbeat
from storage.migrate import TooOld, refuse_if_too_old
from storage.tallies import Tally
from telemetry.usage import usage

MOST_S = 5.0  # between two signs of life, however long the lease
OVERDUE = 70  # exit status of a process whose job did not end in its time
GRACE_S = 5.0  # Celery's own time limit, where the pool has one, comes first


class ClaimLost(Exception):
    """The job was cancelled, or its worker was taken for dead: whatever it makes now is discarded."""


class Claim:
    """One claim of jobs: its owner token, when it must be over (monotonic), and whether the ledger still knows it."""

    def __init__(self, owner: str, end: float) -> None:
        self.owner, self.end = owner, end
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
        overdue: called with the owner of a claim that is over its time; it ends the process, for nothing else ends a
            job that never returns. The solo pool has no time limit of its own, and a wedged main process keeps none.
        outdated: called once with a sentence when a newer release has changed the ledger so that this one must stop; it
            asks the worker's main process to, as its supervisor would.
        pid: the worker's main process, if that is not this one: what it and its children use stands in the sign of life.
        alive_file: touched at each turn, also while the ledger is away.

    Attributes:
        tally: what this process counts; it goes to the ledger with each sign of life.
    """

    def __init__(
        self,
        db: Database,
        worker: str,
        queues: str,
        lease_s: float,
        clock: Callable[[], float],
        overdue: Callable[[str], None] | None = None,
        pid: int | None = None,
        outdated: Callable[[str], None] | None = None,
        alive_file: Path | None = None,
    ) -> None:
        self.db, self.worker, self.queues, self.lease_s, self.clock = db, worker, queues, lease_s, clock
        self._alive_file = alive_file
        self._overdue, self._pid = overdue or _end_process, pid or os.getpid()
        self._outdated, self._told = outdated or self._ask_to_stop, False
        self.tally = Tally()
        self._claims: dict[str, Claim] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        self._beat()
        touch(self._alive_file)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=3)
            self._tell()

    def owner(self) -> str:
        """A fresh owner token."""
        return f"{self.worker}/{uuid.uuid4().hex}"

    @contextmanager
    def holding(self, owner: str, limit_s: float = POLICIES["predict"].time_limit_s) -> Iterator[Claim]:
        """Keep the leases of this claim alive until the end of the block, at most `limit_s` seconds and a little."""
        claim = self._claims[owner] = Claim(owner, time.monotonic() + limit_s + GRACE_S)
        try:
            yield claim
        finally:
            del self._claims[owner]

    def _run(self) -> None:
        wait = min(self.lease_s / 4, MOST_S)
        while not self._stop.wait(wait):
            for claim in list(self._claims.values()):
                if time.monotonic() > claim.end:
                    self._overdue(claim.owner)
            try:
                touch(self._alive_file)
                self._beat()
                wait = min(self.lease_s / 4, MOST_S)
            except Exception as fault:  # noqa: BLE001 - without this thread every job of this process would be lost to it
                logger.warning("no sign of life could be written: {}", type(fault).__name__)
                wait = 0.5

    def _beat(self) -> None:
        claims = dict(self._claims)
        now = self.clock()
        with self.db.begin() as tx:
            self._look_whether_outdated(tx)
            kept = ledger.heartbeat(tx, list(claims), now, self.lease_s) if claims else set()
            heartbeats.beat(tx, sign_of_life(self.worker, "worker", now, self._pid, queues=self.queues))
        self._tell()
        for owner in claims.keys() - kept:
            if owner in self._claims:  # still at work: it did not simply finish meanwhile
                claims[owner].lose()

    def _look_whether_outdated(self, tx: Connection) -> None:
        try:
            refuse_if_too_old(tx)
        except TooOld as sentence:
            if not self._told:
                self._told = True
                self._outdated(str(sentence))

    def _ask_to_stop(self, sentence: str) -> None:
        logger.error("{} This worker stops, and gives its jobs back.", sentence)
        os.kill(self._pid, signal.SIGTERM)

    def _tell(self) -> None:
        """In a transaction of its own: a counter's row that another process holds must not hold up a lease."""
        counted = self.tally.take()
        if not counted:
            return
        try:
            self.db.run(lambda tx: tallies.add(tx, counted), patience_s=0)
        except DBAPIError as fault:
            self.tally.give_back(counted)
            logger.debug("what was counted is told later: {}", type(fault.orig).__name__)


def touch(alive_file: Path | None) -> None:
    """Say to a health check on this machine that a process goes on: a ledger that is away is no reason to end it."""
    if alive_file:
        alive_file.touch()


def sign_of_life(name: str, component: str, now: float, pid: int, queues: str = "") -> Heartbeat:
    """That a process lives, with what it uses."""
    uses = usage(pid)
    known = (uses.cpu_s, uses.resident, uses.files) if uses else (None, None, None)
    return Heartbeat(name, component, queues, True, "", now, *known)


def _end_process(owner: str) -> None:
    logger.error("the jobs of claim {} did not end in their time: this process ends, they are taken back", owner)
    os._exit(OVERDUE)
