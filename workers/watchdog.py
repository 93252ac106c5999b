"""The watchdog: ends a worker that is alive but idle for ever, so that its supervisor starts a fresh one.

Two ways into that state were seen: an event loop that no longer turns, and a prefetch slot that leaked with a lost ack.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import redis
from celery import bootsteps
from celery.concurrency.solo import TaskPool as SoloPool
from celery.worker import state
from loguru import logger

EVERY_S = 1.0
SILENT_S = 25.0  # the event loop did not turn, while the broker answered all the time
LEAKED_S = 10.0  # messages are delivered, but nobody has taken them up


class Judge:
    """Says when a worker is wedged, from what is seen of it each second.

    Args:
        steady: a monotonic clock, seconds.
    """

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._turned_at = self._sound_at = steady()

    def turned(self) -> None:
        """The event loop has turned."""
        self._turned_at = self._steady()

    def verdict(self, busy: bool, broker_answers: bool, delivered: int, taken_up: int) -> str | None:
        """Why the worker is wedged, or None.

        Args:
            busy: a job runs in this very process (solo pool): the loop cannot turn meanwhile.
            broker_answers: else the loop may rightly wait for it.
            delivered: messages that the broker has handed out and was told of no end of.
            taken_up: those of them that the worker knows as tasks of its own.
        """
        now = self._steady()
        if busy or not broker_answers:
            self._turned_at = self._sound_at = now
        if delivered <= taken_up:
            self._sound_at = now
        if now - self._turned_at > SILENT_S:
            return f"its event loop has not turned for {SILENT_S:.0f} s"
        if now - self._sound_at > LEAKED_S:
            return f"{delivered - taken_up} messages were delivered, and for {LEAKED_S:.0f} s nobody took them up"
        return None


class Watchdog(bootsteps.StartStopStep):
    """A thread beside the event loop; `wedged` ends the process."""

    requires = ("celery.worker.components:Pool",)
    wedged: ClassVar[Callable[[], None]]

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._judge = Judge()
        self._stop = threading.Event()

    def register_with_event_loop(self, _: Any, hub: Any) -> None:
        """Called at each connect: from then on the loop tells that it turns."""
        hub.call_repeatedly(EVERY_S, self._judge.turned)

    def start(self, worker: Any) -> None:
        """Begin to watch."""
        threading.Thread(target=self._watch, args=(worker,), name="watchdog", daemon=True).start()

    def stop(self, _: Any) -> None:
        """Whoever stops may be silent."""
        self._stop.set()

    def _watch(self, worker: Any) -> None:
        solo = isinstance(worker.pool, SoloPool)
        broker = redis.Redis.from_url(worker.app.conf.broker_url, socket_timeout=1, socket_connect_timeout=1)
        while not self._stop.wait(EVERY_S):
            delivered, taken_up = _messages(worker)
            why = self._judge.verdict(solo and bool(state.active_requests), _answers(broker), delivered, taken_up)
            if why:
                logger.error("this worker is wedged: {}; it ends, and is to be started afresh", why)
                type(self).wedged()


def _answers(broker: redis.Redis) -> bool:
    try:
        return bool(broker.ping())
    except (redis.RedisError, OSError):
        return False


def _messages(worker: Any) -> tuple[int, int]:
    """How many messages are delivered and not acknowledged, and how many of these are tasks that wait for their turn."""
    consumer = getattr(getattr(worker, "consumer", None), "task_consumer", None)
    if consumer is None:
        return 0, 0
    qos = consumer.channel.qos
    return len(qos._delivered) - len(qos._dirty), len(state.reserved_requests)
