"""The accept path: group commit.

One thread takes all jobs handed in so far, records them in one transaction, rings for them and tells whoever handed them
in; what comes meanwhile is the next group. A lone request waits for nobody, a crowd shares one commit (see `pace`).

The commit is lax, and the bell rings before the disk has it: a worker may begin at once. Nobody is told "accepted" before
`harden` has made it durable. A client that waits for the job's end is told nothing until then, and the finish is a full
commit later in the same log, so that what it is told of is durable with it; only if its wait runs out is a 202 owed, and
hardened first.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from api.errors import busy, unprocessable
from api.pace import Pace
from jobs.bell import Bell
from jobs.kinds import GROUP, PREDICT, Kind
from storage import idempotency, jobs
from storage.artifacts import Artifacts
from storage.database import FAULTS, Database
from storage.idempotency import Key
from storage.jobs import NewJob

FLOOR_BYTES = 256 << 20  # below so little free space nothing is accepted
FRESH_S = 1.0  # how old the count of waiting jobs and the free space may be
LONG_S = 1.0  # a ledger that gave no word for so long gives those who came meanwhile none either


@dataclass(frozen=True, slots=True)
class Accepted:
    """The job that answers a request; `replayed` if an earlier request of the same key made it."""

    job_id: str
    replayed: bool


@dataclass(slots=True)
class Ticket:
    """A job that is handed in.

    Attributes:
        told: called from the front's thread with this ticket once its outcome is known.
        waits: its client is told nothing before the job has ended, so that its acceptance need not be durable by itself.
        outcome: the acceptance, or why there is none.
    """

    new: NewJob
    key: Key | None
    told: Callable[[Ticket], None]
    waits: bool = False
    outcome: Accepted | Exception | None = None


class Front:
    """Where requests hand in their jobs."""

    def __init__(
        self,
        database: Database,
        bell: Bell,
        pace: Pace,
        artifacts: Artifacts,
        max_queued: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._bell, self._pace, self._artifacts = database, bell, pace, artifacts
        self._max_queued, self._clock = max_queued, clock
        self._handed_in: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._queued, self._free, self._looked_at = 0, 0, float("-inf")
        self._committed, self._durable = 0, 0  # groups
        self._hardening = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="front", daemon=True)
        self._thread.start()

    def has_room(self) -> bool:
        """Whether there was room for another job when that was last looked at, a second ago at most."""
        fresh = self._clock() - self._looked_at < FRESH_S
        return fresh and self._free >= FLOOR_BYTES and self._queued < self._max_queued

    def look(self) -> None:
        """See how many jobs wait and how much of the disk is free."""
        now = self._clock()
        with self._database.read() as tx:
            self._queued = jobs.count_queued(tx)
        self._free, self._looked_at = self._artifacts.free_bytes(), now

    def room(self) -> None:
        """Look whether there is room for another job.

        Raises:
            Refused: 429 when too many wait, 503 when the disk is nearly full.
        """
        if self._clock() - self._looked_at >= FRESH_S:
            self.look()
        if self._free < FLOOR_BYTES:
            raise busy(503, f"The disk is nearly full: {self._free >> 20} MiB free, {FLOOR_BYTES >> 20} MiB needed.", 30)
        if self._queued >= self._max_queued:
            raise busy(429, f"{self._queued} jobs wait already (MAX_QUEUED is {self._max_queued}).", 2)

    def accept(self, new: NewJob, key: Key | None = None) -> Accepted:
        """Record a job durably and ring for it; with a key used before, find the job it made.

        Raises:
            Refused: 422, the key was used with another body.
            storage.database.FAULTS: the database did not take it.
        """
        done = threading.Event()
        ticket = Ticket(new, key, lambda _: done.set())
        self.hand_in(ticket)
        done.wait()
        if isinstance(ticket.outcome, Exception):
            raise ticket.outcome
        assert ticket.outcome is not None  # noqa: S101 - who is told has an outcome
        return ticket.outcome

    def hand_in(self, ticket: Ticket) -> None:
        """As `accept`, without waiting: the ticket is told."""
        self._handed_in.put(ticket)

    def harden(self) -> None:
        """Make every job that was recorded so far durable, unless somebody has since it was.

        Raises:
            storage.database.FAULTS, OSError: that could not be done.
        """
        wanted = self._committed
        with self._hardening:
            if self._durable < wanted:
                committed = self._committed
                self._database.harden()
                self._durable = committed

    def close(self, timeout_s: float = 3.0) -> None:
        """Record what was handed in, then stop."""
        self._handed_in.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while batch := self._next():
            self._flush(batch)

    def _next(self) -> list[Ticket]:
        """All that was handed in, at most a group; nothing at the end."""
        first = self._handed_in.get()
        self._pace.hold()
        batch = [first] if first is not None else []
        while len(batch) < GROUP and not self._handed_in.empty():
            ticket = self._handed_in.get()
            if ticket is None:
                self._handed_in.put(None)  # the end comes after this group
                break
            batch.append(ticket)
        return batch

    def _flush(self, batch: Sequence[Ticket]) -> None:
        batch = self._recorded(batch)
        owed = [ticket for ticket in batch if not ticket.waits and not isinstance(ticket.outcome, Exception)]
        try:
            if owed:
                self.harden()
        except Exception as fault:  # noqa: BLE001 - each request of the group raises it for itself
            for ticket in owed:
                ticket.outcome = fault
        for ticket in batch:
            ticket.told(ticket)

    def _recorded(self, batch: Sequence[Ticket]) -> Sequence[Ticket]:
        """The tickets that have their outcomes now: those of the group, and those who waited behind it in vain."""
        began = self._clock()
        try:
            outcomes: Sequence[Accepted | Exception] = self._record(batch)
        except Exception as fault:  # noqa: BLE001 - likewise
            if isinstance(fault, FAULTS) and self._clock() - began > LONG_S:
                batch = [*batch, *self._come_meanwhile()]
            outcomes = [fault] * len(batch)
        for ticket, outcome in zip(batch, outcomes, strict=True):
            ticket.outcome = outcome
        return batch

    def _come_meanwhile(self) -> list[Ticket]:
        """All that was handed in: the next group would have to wait as long again."""
        found = []
        for _ in range(self._handed_in.qsize()):
            ticket = self._handed_in.get()
            if ticket is None:
                self._handed_in.put(None)
            else:
                found.append(ticket)
        return found

    def _record(self, batch: Sequence[Ticket]) -> list[Accepted | Exception]:
        outcomes: list[Accepted | Exception] = []
        fresh: list[NewJob] = []
        plain = all(ticket.key is None and ticket.new.dedupe_key is None for ticket in batch)  # one INSERT is all there is to do
        with self._database.singly_lax() if plain else self._database.begin_lax() as tx:
            for ticket in batch:
                if ticket.key is None or idempotency.add(tx, ticket.key):
                    fresh.append(ticket.new)
                    outcomes.append(Accepted(ticket.new.id, replayed=False))
                else:
                    used = idempotency.find(tx, ticket.key.token_id, ticket.key.path, ticket.key.key)
                    outcomes.append(_replay(used, ticket.key))
            jobs.add(tx, fresh)
        self._committed += 1
        self._queued += len(fresh)
        self._ring(fresh)
        return outcomes

    def _ring(self, fresh: Sequence[NewJob]) -> None:
        """Predictions travel in groups, each without a request id of its own: the ledger keeps those."""
        grouped = [job for job in fresh if job.kind == "predict"]
        for job in [job for job in fresh if job.kind != "predict"]:
            self._bell.ring([_door(job)], job.request_id)
        small = [job.id for job in grouped if job.queue == PREDICT]
        if small:
            self._pace.rung(small)
        if grouped:
            self._bell.ring([_door(job) for job in grouped], grouped[0].request_id if len(grouped) == 1 else None)


def _door(job: NewJob) -> tuple[str, Kind, str]:
    return job.queue, job.kind, job.id  # type: ignore[return-value]  # NewJob.kind is one of Kind's


def _replay(used: Key | None, asked: Key) -> Accepted | Exception:
    if used is None:  # forgotten between two statements
        return busy(503, "The Idempotency-Key expired just now; post again.", 1)
    if used.body_hash != asked.body_hash:
        return unprocessable((("Idempotency-Key",), "was used with another body"))
    return Accepted(used.job_id, replayed=True)
