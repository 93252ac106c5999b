"""Celery beat as it comes, but for a sign of life in the ledger at each turn of its loop."""

from __future__ import annotations

import time
from typing import Any

from celery.beat import PersistentScheduler
from loguru import logger
from sqlalchemy.exc import DBAPIError

from settings import load
from storage import heartbeats
from storage.database import Database
from storage.heartbeats import Heartbeat
from workers.room import worker_name

LOOP_S = 5  # beat wakes at least this often, however long the interval


class Scheduler(PersistentScheduler):
    """Says that beat is alive; what it schedules, and where it keeps that, is Celery's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ledger = Database(load().ledger_url, pool_size=1)
        self._signed_at = 0.0

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """One turn of the loop; returns the seconds until the next."""
        now = time.time()
        if now - self._signed_at >= LOOP_S - 1 or now < self._signed_at:
            self._sign(now)
        return float(super().tick(*args, **kwargs))

    def _sign(self, now: float) -> None:
        sign = Heartbeat(worker_name("beat"), "beat", "", True, "", now)
        try:
            self._ledger.run(lambda tx: heartbeats.beat(tx, sign), patience_s=0)
            self._signed_at = now
        except DBAPIError as fault:
            logger.warning("no sign of life could be written: {}", type(fault.orig).__name__)
