"""The bell: rings after commit, best effort, from a thread of its own, so that a dead broker delays nobody.

A doorbell that does not get through is no loss: the job is in the ledger, and the sweeper rings again.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.kinds import GROUP, QUARANTINE, Kind
from jobs.messages import Heard, Ring, celery_message

DONE = "continual.done"  # the channel on which workers say which jobs have ended
BROKER_FAULTS = (redis.RedisError, OSError)


def grouped(jobs: Iterable[tuple[str, Kind, str]]) -> list[Ring]:
    """Rings for (queue, kind, job id) triples: one per queue and kind, in order, at most GROUP jobs each.

    Predictions travel together, but not in quarantine: there each job is alone with what it may do to its worker.
    """
    by_bell: dict[tuple[str, Kind], list[str]] = {}
    for queue_name, kind, job_id in jobs:
        by_bell.setdefault((queue_name, kind), []).append(job_id)
    return [
        Ring(queue_name, kind, tuple(ids[start : start + size]))
        for (queue_name, kind), ids in by_bell.items()
        for size in [GROUP if kind == "predict" and queue_name != QUARANTINE else 1]
        for start in range(0, len(ids), size)
    ]


def publish(broker: redis.Redis, ring: Ring, request_id: str | None = None) -> None:
    """Put one message on its queue, now.

    Raises:
        any of BROKER_FAULTS: the broker did not take it.
    """
    said = Heard(ring.kind, ring.task_id, ring.job_ids, request_id)
    broker.lpush(ring.queue, msgspec.json.encode(celery_message(said, ring.queue)))


def ringer(redis_url: str) -> redis.Redis:
    """A connection for those who only ring: they must never hang on a stopped broker, since the sweeper rings again."""
    once_more = Retry(NoBackoff(), 1)  # the broker may have been started afresh since the last ring
    return redis.Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=2, socket_keepalive=True, retry=once_more)


class Bell:
    """Rings doorbells and announces ends from a background thread.

    Args:
        redis_url: the broker.
        on_fault: called with one sentence when the broker stops answering, and once more when it is back.
    """

    def __init__(self, redis_url: str, on_fault: Callable[[str], None]) -> None:
        self._redis = ringer(redis_url)
        self._waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._on_fault = on_fault
        self._down = False
        self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
        self._thread.start()

    def ring(self, jobs: Iterable[tuple[str, Kind, str]], request_id: str | None = None) -> None:
        """Ring for committed jobs, given as (queue, kind, id); returns at once."""
        for ring in grouped(jobs):
            self._waiting.put(lambda ring=ring: publish(self._redis, ring, request_id))  # type: ignore[misc]

    def announce(self, job_ids: Sequence[str]) -> None:
        """Tell whoever waits for these jobs that they have ended; returns at once."""
        text = ",".join(job_ids)
        self._waiting.put(lambda: self._publish_done(text))

    def _publish_done(self, text: str) -> None:
        self._redis.publish(DONE, text)

    def close(self, timeout_s: float = 3.0) -> None:
        """Deliver what waits, then stop."""
        self._waiting.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (deliver := self._waiting.get()) is not None:
            try:
                deliver()
            except BROKER_FAULTS as fault:
                self._note(
                    down=True,
                    sentence=f"the broker does not answer ({type(fault).__name__}); the sweeper will ring again",
                )
                if self._forget():
                    return
            else:
                self._note(down=False, sentence="the broker answers again")

    def _forget(self) -> bool:
        """Drop what waits: each would wait for the same broker, and a long outage would fill the memory. True to stop."""
        while not self._waiting.empty():
            if self._waiting.get() is None:
                return True
        return False

    def _note(self, down: bool, sentence: str) -> None:
        if down != self._down:
            self._down = down
            self._on_fault(sentence)
