"""Who has fallen silent, and whether the clock was set: both told by a steady clock, never by the time of day."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from storage.ledger import Lease

EVEN_S = 900.0  # nothing is forgotten by a clock that has not run evenly for so long: one that is wrong is mended by then
STEP_S = 2.0  # the time of day may run so far from the steady clock between two looks


class Vigil:
    """Watches leases: one that nobody has extended for as long as it lasts is silent.

    A lease is compared with what it was at the last look. So workers whose clocks are wrong, or set while they
    work, keep their jobs, and a dead worker's job is taken back in time whatever the clock shows. While the ledger
    was away nobody could speak; after a gap in the looks every lease is therefore as good as new.

    Args:
        lease_s: how long a lease lasts, seconds.
        steady: a monotonic clock, seconds.
    """

    def __init__(self, lease_s: float, steady: Callable[[], float] = time.monotonic) -> None:
        self._lease_s, self._steady = lease_s, steady
        self._longest_gap_s = max(lease_s / 2, 5.0)
        self._seen: dict[Lease, float] = {}
        self._looked_at = float("-inf")

    def silent(self, leases: Iterable[Lease]) -> list[Lease]:
        """Those of the present leases that stood still for `lease_s` seconds."""
        now = self._steady()
        known = self._seen if now - self._looked_at <= self._longest_gap_s else {}
        self._seen = {lease: known.get(lease, now) for lease in leases}
        self._looked_at = now
        return [lease for lease, since in self._seen.items() if now - since >= self._lease_s]


class WallClock:
    """Notices that the time of day was set.

    Args:
        wall: epoch seconds.
        steady: a monotonic clock, seconds.
    """

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._steady = wall, steady
        self._apart = wall() - steady()

    def step(self) -> float:
        """By how many seconds it was set since the last call; 0.0 if it was not."""
        apart = self._wall() - self._steady()
        moved, self._apart = apart - self._apart, apart
        return moved if abs(moved) > STEP_S else 0.0


class EvenClock:
    """Whether the time of day may be believed to be late: a clock set to next year would cost all that is kept for a while.

    Args:
        wall: epoch seconds.
        steady: a monotonic clock, seconds.
    """

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._steady = WallClock(wall, steady), steady
        self._since = steady()

    def is_even(self) -> bool:
        """Whether it was not set for `EVEN_S`; to be asked each second or so."""
        if self._wall.step():
            self._since = self._steady()
        return self._steady() - self._since >= EVEN_S
