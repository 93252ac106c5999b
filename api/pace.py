"""Nagle's algorithm at the front: a lone client waits for nothing, a crowd makes big messages.

A flush goes out at once while fewer than two messages are unfinished, as this process sees it; else when one finishes,
or after a few milliseconds. So nothing hangs when a worker dies, and nothing has to be right here but the bound.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

AT_WORK = 2  # messages: one that is worked on, one that is ready when it ends
MOST_S = 0.005
FORGET_S = 1.0  # a message unfinished for so long says nothing of how busy the workers are


class Pace:
    """Which messages are unfinished; each is known by its last job, for workers take the oldest first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._unfinished: dict[str, float] = {}
        self._changed = threading.Condition()

    def rung(self, job_ids: Sequence[str]) -> None:
        """A message of these jobs is on its way."""
        with self._changed:
            self._unfinished[job_ids[-1]] = self._clock()

    def ended(self, job_ids: Sequence[str]) -> None:
        """These jobs have ended."""
        with self._changed:
            before = len(self._unfinished)
            for job_id in job_ids:
                self._unfinished.pop(job_id, None)
            if len(self._unfinished) < before:
                self._changed.notify()

    def hold(self) -> None:
        """Wait until another message is wanted, at most MOST_S."""
        now = self._clock()
        end = now + MOST_S
        with self._changed:
            for job_id in [job_id for job_id, at in self._unfinished.items() if now - at > FORGET_S]:
                del self._unfinished[job_id]
            while len(self._unfinished) >= AT_WORK and (rest := end - self._clock()) > 0:
                self._changed.wait(rest)
