"""Token buckets: how often somebody may do something."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

MOST_KEYS = 10_000  # above so many, buckets that are full again are forgotten


class Buckets:
    """One bucket per key: `count` at once, refilled evenly over `seconds`."""

    def __init__(self, count: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._count, self._per_second, self._clock = count, count / seconds, clock
        self._levels: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, key: str) -> float:
        """Take one from the key's bucket: 0, or the seconds until there is one to take."""
        now = self._clock()
        with self._lock:
            level, at = self._levels.get(key, (float(self._count), now))
            level = min(self._count, level + (now - at) * self._per_second)
            wait = 0.0 if level >= 1 else (1 - level) / self._per_second
            self._levels[key] = (level if wait else level - 1, now)
            if len(self._levels) > MOST_KEYS:
                self._forget(now)
        return wait

    def headers(self, key: str) -> list[tuple[str, str]]:
        """How the key's bucket stands, as `RateLimit-*` headers: its size, what is left, and the seconds until it is full."""
        now = self._clock()
        with self._lock:
            level, at = self._levels.get(key, (float(self._count), now))
        level = min(self._count, level + (now - at) * self._per_second)
        full_s = math.ceil((self._count - level) / self._per_second)
        told = {"Limit": self._count, "Remaining": int(level), "Reset": full_s}
        policy = ("RateLimit-Policy", f"{self._count};w={self._count / self._per_second:.0f}")
        return [*((f"RateLimit-{name}", str(value)) for name, value in told.items()), policy]

    def _forget(self, now: float) -> None:
        full = self._count / self._per_second
        self._levels = {key: (level, at) for key, (level, at) in self._levels.items() if now - at < full}
        while len(self._levels) > MOST_KEYS:
            self._levels.pop(next(iter(self._levels)))
