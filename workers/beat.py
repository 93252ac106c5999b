"""Celery beat as it comes, but for a sign of life in the ledger at each turn of its loop."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import Any

from celery.beat import PersistentScheduler
from loguru import logger
from sqlalchemy.exc import DBAPIError

from settings import load
from storage import heartbeats
from storage.database import Database
from workers.lease import sign_of_life, touch
from workers.room import worker_name

SET_BACK = timedelta(seconds=2)
LOOP_S = 5  # beat wakes at least this often, however long the interval


class Scheduler(PersistentScheduler):
    """Says that beat is alive; what it schedules, and where it keeps that, is Celery's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = load()
        self._ledger, self._alive_file = Database(settings.ledger_url, pool_size=1), settings.alive_file
        self._signed_at = 0.0

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """One turn of the loop; returns the seconds until the next."""
        now = time.time()
        self._heed_a_clock_set_back()
        if now - self._signed_at >= LOOP_S - 1 or now < self._signed_at:
            self._sign(now)
        return float(super().tick(*args, **kwargs))

    def _heed_a_clock_set_back(self) -> None:
        """What was last sent at a time that is yet to come is sent now: Celery would wait for that time to come again."""
        now = self.app.now()
        late = [entry for entry in self.schedule.values() if entry.last_run_at and entry.last_run_at > now + SET_BACK]
        for entry in late:
            logger.warning("the clock was set back: {} goes on from now", entry.name)
            entry.last_run_at = now
        if late:
            self._heap = None  # Celery makes it anew

    def _sign(self, now: float) -> None:
        touch(self._alive_file)
        sign = sign_of_life(worker_name("beat"), "beat", now, os.getpid())
        try:
            self._ledger.run(lambda tx: heartbeats.beat(tx, sign), patience_s=0)
            self._signed_at = now
        except DBAPIError as fault:
            logger.warning("no sign of life could be written: {}", type(fault.orig).__name__)
