"""Long polls, answered by push: workers announce ended jobs on one Redis channel, and each waiting request has a watch.

A watch also looks for itself now and then, so that a dead broker makes waiting slower and nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import redis

from api.pace import Pace
from jobs.bell import DONE
from storage import jobs
from storage.database import FAULTS, Database
from storage.jobs import TERMINAL, Job

FIRST_LOOK_S, LAST_LOOK_S = 0.25, 1.0  # pauses between a watch's own looks
RECONNECT_S = 0.5
log = logging.getLogger("api")


class Eye(Protocol):
    """Who wants to know of a job's end."""

    def tell(self, job: Job) -> None:
        """The job has ended."""

    def close(self) -> None:
        """The process stops: wait no longer."""


class Watch:
    """One request's eye on one job, for a thread that waits."""

    def __init__(self, job_id: str, look: Callable[[str], Job | None]) -> None:
        self.job_id = job_id
        self._look = look
        self._told = threading.Event()
        self._ended: Job | None = None
        self.closed = False

    def tell(self, job: Job) -> None:
        """The job has ended."""
        self._ended = job
        self._told.set()

    def close(self) -> None:
        """The process stops: wait no longer."""
        self.closed = True
        self._told.set()

    def until_end(self, seconds: float, looked: bool = False) -> Job | None:
        """The job at its end, or as it was last seen when the time is up; None if there is no such job.

        Args:
            looked: the caller knows already that it exists and has not ended; None then means that it was not seen again.
        """
        end, pause = time.monotonic() + seconds, FIRST_LOOK_S
        job = None
        if not looked and (job := self._look(self.job_id)) is None:
            return None
        while not _over(job) and not self.closed and (rest := end - time.monotonic()) > 0:
            self._told.wait(min(rest, pause))
            job, pause = self._ended or self._again() or job, min(pause * 2, LAST_LOOK_S)
        return job

    def _again(self) -> Job | None:
        """Another look; a database that is away for a moment ends no wait, for the job has been accepted."""
        try:
            return self._look(self.job_id)
        except FAULTS as fault:
            log.warning("the database does not answer a wait: %s", type(fault).__name__)
            return None

    def glance(self, seconds: float) -> Job | None:
        """The job when it ends, or as it is after so long; None if the database is away."""
        self._told.wait(seconds)
        return self._ended or self._again()


def _over(job: Job | None) -> bool:
    return job is not None and job.status in TERMINAL


class Waiting:
    """All eyes of this process, and the thread that listens for ends.

    Args:
        redis_url: the broker.
        most: how many requests may wait at once, so that threads are left for others.
    """

    def __init__(self, database: Database, redis_url: str, most: int, pace: Pace) -> None:
        self._database, self._pace = database, pace
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=5, socket_connect_timeout=2, health_check_interval=5)
        self._slots = threading.BoundedSemaphore(most)
        self._eyes: dict[str, list[Eye]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._hears = True
        threading.Thread(target=self._listen, name="waiting", daemon=True).start()

    def enter(self) -> bool:
        """Take a slot for a wait; False if none is left. Whoever took one calls `leave`."""
        return self._slots.acquire(blocking=False)

    def leave(self) -> None:
        """Give a slot back."""
        self._slots.release()

    @contextmanager
    def watching(self, job_id: str) -> Iterator[Watch]:
        """A watch on a job, that may not exist yet."""
        watch = Watch(job_id, self._look)
        self.add(job_id, watch)
        try:
            yield watch
        finally:
            self.drop(job_id, watch)

    def add(self, job_id: str, eye: Eye) -> None:
        """From now on tell this one of the job's end; the job may not exist yet."""
        with self._lock:
            self._eyes.setdefault(job_id, []).append(eye)
        if self._closed.is_set():
            eye.close()

    def drop(self, job_id: str, eye: Eye) -> None:
        """Tell this one no more; it may have been dropped before."""
        with self._lock:
            others = [each for each in self._eyes.get(job_id, ()) if each is not eye]
            if others:
                self._eyes[job_id] = others
            else:
                self._eyes.pop(job_id, None)

    def ended(self, job_ids: Sequence[str]) -> None:
        """Tell whoever watches these jobs that they have ended; one query for all of them."""
        with self._lock:
            watched = [job_id for job_id in job_ids if job_id in self._eyes]
        if not watched:
            return
        with self._database.read() as tx:
            found = jobs.get_many(tx, watched)
        with self._lock:
            told = [(eye, found[job_id]) for job_id in watched if job_id in found for eye in self._eyes.get(job_id, ())]
        for eye, job in told:
            if _over(job):
                eye.tell(job)

    def close(self) -> None:
        """End every wait now: the process stops."""
        self._closed.set()
        with self._lock:
            eyes = [eye for each in self._eyes.values() for eye in each]
        for eye in eyes:
            eye.close()

    @property
    def patience_s(self) -> float:
        """How long to rely on being told before an eye has to look for itself."""
        return LAST_LOOK_S if self._hears else FIRST_LOOK_S

    @property
    def closed(self) -> bool:
        """Whether the process stops."""
        return self._closed.is_set()

    def _look(self, job_id: str) -> Job | None:
        with self._database.read() as tx:
            return jobs.get(tx, job_id)

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                with self._redis.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
                    channel.subscribe(DONE)
                    self._note(True)
                    self._hear(channel)
            except (redis.RedisError, OSError) as fault:
                self._note(False, type(fault).__name__)
                self._closed.wait(RECONNECT_S)

    def _note(self, hears: bool, why: str = "") -> None:
        if self._hears and not hears:
            log.warning("the broker does not answer (%s): waits look into the database instead", why)
        elif hears and not self._hears:
            log.info("the broker answers again")
        self._hears = hears

    def _hear(self, channel: redis.client.PubSub) -> None:
        while not self._closed.is_set():
            message = channel.get_message(timeout=1.0)
            if message is None:
                continue
            job_ids = message["data"].decode("ascii", "replace").split(",")
            self._pace.ended(job_ids)
            try:
                self.ended(job_ids)
            except FAULTS as fault:  # the watches look for themselves
                log.warning("ends were announced, but the database does not answer: %s", type(fault).__name__)
