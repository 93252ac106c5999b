"""The door's memory: who failed to log in, how long they wait, and whose sessions are open."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

FREE_TRIES = 5  # of one address; after these the wait doubles with each failure
TRIES_OF_ALL = 50  # of all addresses together, for those who have many
LONGEST_WAIT_S, LONGEST_OF_ALL_S = 900.0, 30.0  # the latter is what a stranger can do to everybody
FORGET_S = 3600.0  # without a failure
MOST_KEPT = 10_000
SESSION_S = 12 * 3600.0
ALL = ""


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last_at: float = 0.0
    until: float = 0.0


class Lockout:
    """Growing waits after wrong passwords, per address and for all together. Safe to share between threads.

    Args:
        clock: steady seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: dict[str, _Failures] = {}

    def wait_s(self, address: str) -> float:
        """Seconds until this address may try again; 0 if it may now."""
        with self._lock:
            now = self._clock()
            known = [self._failed[name] for name in (address, ALL) if name in self._failed]
            return max((0.0, *(each.until - now for each in known)))

    def failed(self, address: str) -> None:
        """Note a wrong password."""
        with self._lock:
            now = self._clock()
            self._forget(now)
            for name, free, longest in ((address, FREE_TRIES, LONGEST_WAIT_S), (ALL, TRIES_OF_ALL, LONGEST_OF_ALL_S)):
                failures = self._failed.setdefault(name, _Failures())
                failures.count, failures.last_at = failures.count + 1, now
                if failures.count >= free:
                    failures.until = now + min(2.0 ** min(failures.count - free, 20), longest)

    def succeeded(self, address: str) -> None:
        """The right password forgives this address, and it alone."""
        with self._lock:
            self._failed.pop(address, None)

    def _forget(self, now: float) -> None:
        old = [name for name, failures in self._failed.items() if now - max(failures.last_at, failures.until) > FORGET_S]
        for name in old:
            del self._failed[name]
        while len(self._failed) > MOST_KEPT:  # the oldest of those that came in a flood; all together still count
            del self._failed[next(name for name in self._failed if name != ALL)]


class Sessions:
    """Who is logged in: only a hash of each session's secret is kept, and each ends after twelve hours.

    Args:
        clock: epoch seconds.
    """

    def __init__(self, password: str, clock: Callable[[], float]) -> None:
        self._password = hashlib.sha256(password.encode()).digest()
        self._clock = clock
        self._open: dict[str, float] = {}

    def is_password(self, given: str) -> bool:
        """Whether it is the password; takes as long for any that is not."""
        return hmac.compare_digest(hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest(), self._password)

    def begin(self) -> tuple[str, float]:
        """A new session's secret, and the epoch second at which it ends."""
        now = self._clock()
        self._open = {name: until for name, until in self._open.items() if until > now}
        secret, until = secrets.token_urlsafe(32), now + SESSION_S
        self._open[_hash(secret)] = until
        return secret, until

    def is_open(self, secret: str) -> bool:
        """Whether it is the secret of a session that has not ended."""
        return self._open.get(_hash(secret), 0.0) > self._clock()

    def end(self, secret: str) -> None:
        """Log out."""
        self._open.pop(_hash(secret), None)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
