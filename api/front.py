"""The accept path: group commit.

The request that finds nobody flushing takes all jobs handed in so far, records them in one transaction, rings for
them and wakes their requests; then it hands the lead to whoever came meanwhile. A lone request waits for nobody,
a crowd shares one commit.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from api.errors import busy, unprocessable
from jobs.bell import Bell
from jobs.kinds import GROUP, Kind
from storage import idempotency, jobs
from storage.artifacts import Artifacts
from storage.database import Database
from storage.idempotency import Key
from storage.jobs import NewJob

FLOOR_BYTES = 256 << 20  # below so little free space nothing is accepted
FRESH_S = 1.0  # how old the count of waiting jobs and the free space may be


@dataclass(frozen=True, slots=True)
class Accepted:
    """The job that answers a request; `replayed` if an earlier request of the same key made it."""

    job_id: str
    replayed: bool


@dataclass(slots=True)
class _Ticket:
    new: NewJob
    key: Key | None
    ready: threading.Event = field(default_factory=threading.Event)
    outcome: Accepted | Exception | None = None


class Front:
    """Where requests hand in their jobs."""

    def __init__(
        self,
        database: Database,
        bell: Bell,
        artifacts: Artifacts,
        max_queued: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._bell, self._artifacts = database, bell, artifacts
        self._max_queued, self._clock = max_queued, clock
        self._lock = threading.Lock()
        self._handed_in: deque[_Ticket] = deque()
        self._flushing = False
        self._queued, self._free, self._looked_at = 0, 0, float("-inf")

    def room(self) -> None:
        """Look whether there is room for another job.

        Raises:
            Refused: 429 when too many wait, 503 when the disk is nearly full.
        """
        now = self._clock()
        if now - self._looked_at >= FRESH_S:
            with self._database.read() as tx:
                self._queued = jobs.count_queued(tx)
            self._free, self._looked_at = self._artifacts.free_bytes(), now
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
        ticket = _Ticket(new, key)
        with self._lock:
            self._handed_in.append(ticket)
            leads, self._flushing = not self._flushing, True
        if not leads:
            ticket.ready.wait()
        if ticket.outcome is None:  # nobody flushed it: this request leads now, and its ticket is the oldest
            self._flush()
        if isinstance(ticket.outcome, Exception):
            raise ticket.outcome
        assert ticket.outcome is not None  # noqa: S101 - _flush has set it
        return ticket.outcome

    def _flush(self) -> None:
        with self._lock:
            batch = [self._handed_in.popleft() for _ in range(min(GROUP, len(self._handed_in)))]
        try:
            self._record(batch)
        except Exception as fault:  # noqa: BLE001 - each request of the batch raises it for itself
            for ticket in batch:
                ticket.outcome = fault
        finally:
            self._hand_over()
        for ticket in batch:
            ticket.ready.set()

    def _hand_over(self) -> None:
        with self._lock:
            if self._handed_in:
                self._handed_in[0].ready.set()
            else:
                self._flushing = False

    def _record(self, batch: Sequence[_Ticket]) -> None:
        outcomes: list[Accepted | Exception] = []
        fresh: list[NewJob] = []
        with self._database.begin() as tx:
            for ticket in batch:
                if ticket.key is None or idempotency.add(tx, ticket.key):
                    fresh.append(ticket.new)
                    outcomes.append(Accepted(ticket.new.id, replayed=False))
                else:
                    used = idempotency.find(tx, ticket.key.token_id, ticket.key.path, ticket.key.key)
                    outcomes.append(_replay(used, ticket.key))
            jobs.add(tx, fresh)
        self._queued += len(fresh)
        self._ring(fresh)
        for ticket, outcome in zip(batch, outcomes, strict=True):
            ticket.outcome = outcome

    def _ring(self, fresh: Sequence[NewJob]) -> None:
        """Predictions travel in groups, each without a request id of its own: the ledger keeps those."""
        grouped = [job for job in fresh if job.kind == "predict"]
        for job in [job for job in fresh if job.kind != "predict"]:
            self._bell.ring([_door(job)], job.request_id)
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
