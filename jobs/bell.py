"""The bell: rings after commit, best effort, and so that a dead broker delays nobody.

A doorbell that does not get through is no loss: the job is in the ledger, and the sweeper rings again.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence

import msgspec
import redis

from jobs.kinds import GROUP, QUARANTINE, Kind
from jobs.line import BROKER_FAULTS, Line
from jobs.messages import Heard, Ring, celery_message

DONE = "continual.done"  # the channel on which workers say which jobs have ended


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
    broker.lpush(ring.queue, _message(ring, request_id))


def _message(ring: Ring, request_id: str | None) -> bytes:
    return msgspec.json.encode(celery_message(Heard(ring.kind, ring.task_id, ring.job_ids, request_id), ring.queue))


class Bell:
    """Rings doorbells and announces ends: at once where that cannot block, else from a background thread.

    Args:
        redis_url: the broker.
        on_fault: called with one sentence when the broker stops answering, and once more when it is back.
    """

    def __init__(self, redis_url: str, on_fault: Callable[[str], None]) -> None:
        self._line = Line(redis_url)
        self._talking = threading.Lock()
        self._waiting: queue.SimpleQueue[tuple[bytes | str, ...] | None] = queue.SimpleQueue()
        self._on_fault = on_fault
        self._down = False
        self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
        self._thread.start()

    def ring(self, jobs: Iterable[tuple[str, Kind, str]], request_id: str | None = None) -> None:
        """Ring for committed jobs, given as (queue, kind, id); returns at once."""
        for ring in grouped(jobs):
            self._deliver("LPUSH", ring.queue, _message(ring, request_id))

    def announce(self, job_ids: Sequence[str]) -> None:
        """Tell whoever waits for these jobs that they have ended; returns at once."""
        self._deliver("PUBLISH", DONE, ",".join(job_ids))

    def _deliver(self, *command: bytes | str) -> None:
        if not self._said(*command):
            self._waiting.put(command)

    def _said(self, *command: bytes | str) -> bool:
        if not self._waiting.empty() or not self._talking.acquire(blocking=False):
            return False
        try:
            return self._line.say(*command)
        except BROKER_FAULTS:
            return False  # the thread finds out whether the broker is away, or only this connection is broken
        finally:
            self._talking.release()

    def close(self, timeout_s: float = 3.0) -> None:
        """Deliver what waits, then stop."""
        self._waiting.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (command := self._waiting.get()) is not None:
            try:
                with self._talking:
                    self._line.ask(*command)
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
