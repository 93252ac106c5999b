"""What a worker takes off its queues: doorbells, and nothing else.

Celery trusts its broker: one garbled message ends the worker, goes back on its queue, and ends the next one. So each
message is read here first. What is no doorbell is dropped with a word in the log; what is one is handed on with only
the parts that we read, so that no forged header (a time limit, an expiry, a chain) reaches Celery.
"""

from __future__ import annotations

from queue import Empty
from typing import Any

from kombu.transport import redis
from loguru import logger

from jobs.kinds import QUEUES
from jobs.line import BROKER_FAULTS
from jobs.messages import celery_message, heard


class Channel(redis.Channel):
    """kombu's channel; what cannot be parsed is dropped."""

    connection: Any

    def _brpop_read(self, **options: Any) -> Any:
        self.connection.parsed = False
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # kombu's stubs leave it out
        except Exception as garbled:  # kombu's JSON makes objects of marked parts, and these may raise anything
            if self.connection.parsed or isinstance(garbled, (Empty, *BROKER_FAULTS)):
                raise
            logger.warning("a message that cannot be parsed is dropped: {}", type(garbled).__name__)
            return True


class Transport(redis.Transport):
    """kombu's transport to Redis; the app of the workers names it as `broker_transport`."""

    Channel = Channel
    parsed = False

    def _deliver(self, message: Any, queue: str | None) -> None:
        self.parsed = True
        if queue in QUEUES:
            said = heard(message)
            if said is None:
                logger.warning("a message on queue {} that is no doorbell, or of a newer release, is dropped", queue)
                return
            message = celery_message(said, queue)
        super()._deliver(message, queue)
