"""The sweeper: what keeps a 202 a debt that is paid. A process of its own; several may run, one transaction each."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

import msgspec
from loguru import logger
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from jobs.bell import DONE, grouped, publish
from jobs.kinds import QUEUES
from jobs.line import BROKER_FAULTS, ringer
from jobs.messages import heard
from storage import heartbeats, idempotency, jobs, ledger, orphans, retention, tallies, uploads
from storage.jobs import Job, NewJob
from storage.ledger import Doorbell
from storage.migrate import TooOld, refuse_if_too_old
from workers import attempts
from workers.aliases import Aliases
from workers.incidents import tell
from workers.lease import sign_of_life, touch
from workers.old_versions import OldVersions
from workers.room import Room, worker_name
from workers.vigil import EvenClock, Vigil, WallClock
from workers.watch import Watch

EVERY_S = 1.0
TIDY_S = 0.5  # the more often, the less there is to write at once
CANARY = "continual.canary"  # a key that vanishes when Redis loses its memory
PRUNED_AT_ONCE = 200  # jobs a second
MOST = 5_000  # doorbells of one queue in one sweep
LONG = 2_000  # messages: a longer queue has enough to ring already, and is not read
TIDY_EVERY_S = 3_600.0
KEYS_KEPT_S = 2 * 86_400.0


class Sweeper:
    """One sweep: take jobs back from silent workers, end hopeless waits, ring what is due.

    Args:
        steady: a monotonic clock, seconds: leases are measured by it, for `room.clock` may be set.
    """

    def __init__(self, room: Room, steady: Callable[[], float] = time.monotonic) -> None:
        self.room = room
        self.vigil = Vigil(room.settings.job_lease_s, steady)
        self.wall = WallClock(room.clock, steady)
        self._even = EvenClock(room.clock, steady)
        self._steady, self._moved, self._tidy_at = steady, 0.0, 0.0
        self.redis = ringer(room.settings.redis_url)

    def sweep(self) -> None:
        """Do all of it once.

        Raises:
            DBAPIError: the ledger does not answer.
            TooOld: a newer release has changed it.
        """
        self._moved += self.wall.step()
        ended = self.room.db.run(self._settle, patience_s=0)
        self._moved = 0.0  # not before: what follows from it must outlive a ledger that is away
        try:
            if ended:
                self.redis.publish(DONE, ",".join(ended))
            self._ring()
        except BROKER_FAULTS as fault:
            logger.debug("nothing could be rung: {}", type(fault).__name__)

    def _settle(self, tx: Connection) -> list[str]:
        now = self.room.clock()
        refuse_if_too_old(tx)
        if self._moved:
            logger.warning("the clock was set by {:+.0f} s: what is queued is due now", self._moved)
            ledger.clock_stepped(tx, now, self.room.settings.no_model_wait_s)
        again, dead = ledger.expire(tx, self.vigil.silent(ledger.leases(tx)), now)
        for bell in again:
            logger.warning("{} {} was taken back from a silent worker; it runs alone next", bell.kind, bell.job_id)
        lost = Counter([*(bell.kind for bell in again), *(job.kind for job in dead)])
        tallies.add(tx, {("lease_expired", kind): count for kind, count in lost.items()})
        hopeless = ledger.fail_hopeless(tx, now)
        for job in dead:
            jobs.add(tx, self._bury(tx, job, now))
        heartbeats.beat(tx, sign_of_life(worker_name("sweeper"), "sweeper", now, os.getpid()))
        heartbeats.forget(tx, now - 3600)
        if self._even.is_even():
            idempotency.forget(tx, now - KEYS_KEPT_S)
        return [job.id for job in dead] + hopeless

    def prune(self) -> None:
        """Drop some of what is older than RETENTION_DAYS: a little at each sweep, so that nothing has to stop for it."""
        now = self.room.clock()  # first: what is looked at next holds for this moment
        if not self._even.is_even():
            return
        before = now - self.room.settings.retention_days * 86_400
        for folder in self.room.db.run(lambda tx: retention.prune(tx, before, PRUNED_AT_ONCE), patience_s=0):
            self.room.artifacts.remove(folder)
        if self._steady() >= self._tidy_at:
            self._tidy_at = self._steady() + TIDY_EVERY_S
            self._tidy(before)
            self._drop_uploads(now - uploads.KEPT_S)

    def _tidy(self, before: float) -> None:
        """Remove old files that nothing refers to."""
        with self.room.db.read() as tx:
            orphaned = orphans.find(tx, self.room.artifacts, before)
        for name in orphaned:
            self.room.artifacts.remove(name)
        if orphaned:
            logger.info("{} files that nothing refers to are removed", len(orphaned))

    def _drop_uploads(self, before: float) -> None:
        """Remove the tables of jobs that had ended for good by then: what was made of them is kept."""
        for some in uploads.lying(self.room.artifacts, before):
            for name in self.room.db.run(partial(uploads.forget, tables=some, before=before), patience_s=0):
                self.room.artifacts.remove(name)

    def _bury(self, tx: Connection, job: Job, now: float) -> list[NewJob]:
        """People are told of a dead job; a dead training or shadow also leaves what a failed one does: a decision."""
        logger.error("{} {} is dead after {} attempts", job.kind, job.id, job.attempt)
        if job.kind == "notify":
            return []
        line = f"{job.kind} {job.id} took its worker down on each of its attempts"
        title = f"A job of {job.model} is dead"
        told = tell(self.room, tx, f"dead:{job.id}", "failure", "told", title, [line], now, job.model)
        failed = attempts.failed(self.room, job.kind)
        return [told, *(failed(job, ledger.worker_lost(job))(tx, now) if failed else ())]

    def _ring(self) -> None:
        """Ring what is due, but for what its queue still holds; after a loss of the broker's memory, ring everything."""
        wiped = self.redis.get(CANARY) is None
        rung = sum(self._ring_queue(queue, wiped) for queue in QUEUES)
        if wiped:
            logger.warning("the broker has lost its memory (or is new): rang for {} queued jobs", rung)
            self.redis.set(CANARY, "1")

    def _ring_queue(self, queue: str, wiped: bool) -> int:
        now = self.room.clock()
        with self.room.db.read() as tx:
            due = ledger.all_queued(tx, MOST, queue) if wiped else ledger.due(tx, now, MOST, queue)
        if not due:
            return 0
        missing = _missing(due, self._in_queue(queue)) if self.redis.llen(queue) <= LONG else []
        for ring in grouped((bell.queue, bell.kind, bell.job_id) for bell in missing):  # type: ignore[misc]
            publish(self.redis, ring)
        self.room.db.run(lambda tx: ledger.rung(tx, [bell.job_id for bell in due], self.room.clock()), patience_s=2)
        return len(missing)

    def _in_queue(self, name: str) -> set[str]:
        """The jobs whose doorbells still lie in a queue: ringing again for them would only double the backlog."""
        messages: list[bytes] = self.redis.lrange(name, 0, -1)  # type: ignore[assignment]
        return {job_id for message in messages for job_id in _jobs_in(message)}


def _missing(due: Iterable[Doorbell], waiting: set[str]) -> list[Doorbell]:
    return [bell for bell in due if bell.job_id not in waiting]


def _jobs_in(message: bytes) -> tuple[str, ...]:
    """The job ids in a raw message; junk in the queue holds none."""
    try:
        said = heard(msgspec.json.decode(message))
    except msgspec.DecodeError:
        return ()
    return said.job_ids if said else ()


def run(room: Room) -> None:
    """Sweep each second, follow the registry's aliases and prune versions there, watch the components and tidy the ledger's log.

    Until SIGTERM.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    sweeper, watch, aliases, old_versions = Sweeper(room), Watch(room), Aliases(room), OldVersions(room, time.monotonic)

    def ask_the_registry() -> None:  # one after the other: its client is for one thread, and no sweep waits for it
        aliases.follow()
        old_versions.prune()

    beside = {"registry": (ask_the_registry, EVERY_S), "tidy": (room.db.tidy, TIDY_S)}
    threads = [
        threading.Thread(target=_keep_doing, args=(work, stop, every_s), name=name, daemon=True)
        for name, (work, every_s) in beside.items()
    ]
    for thread in threads:
        thread.start()
    logger.info("ready")

    def sweep_and_look() -> None:
        touch(room.settings.alive_file)
        sweeper.sweep()
        sweeper.prune()
        watch.look()

    _keep_doing(sweep_and_look, stop)
    for thread in threads:
        thread.join(timeout=3)


def _keep_doing(work: Callable[[], object], stop: threading.Event, every_s: float = EVERY_S) -> None:
    """Call `work` again and again; what fails is said once and tried again."""
    failing = False
    while not stop.is_set():
        began = time.monotonic()
        try:
            work()
            failing = False
        except TooOld as sentence:
            logger.error("{} The sweeper stops.", sentence)
            stop.set()
        except DBAPIError as fault:
            if not failing:
                logger.error("the ledger does not answer: {}", type(fault.orig).__name__)
            failing = True
        except Exception as fault:  # noqa: BLE001 - the sweeper outlives whatever one sweep meets
            logger.opt(exception=fault).error("a sweep failed")
        stop.wait(max(0.05, every_s - (time.monotonic() - began)))
