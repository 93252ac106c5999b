"""Counters that only grow: what many processes count, each in its own memory, and add here every few seconds.

No process serves a page of its own for it, so nothing is undercounted where children share a port, and a restart resets nothing.
Where a process is killed, what it had counted since its last sign of life, a few seconds ago, is missing here (and nowhere else).
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, select

from storage.dialects import upsert
from storage.schema import tallies

# Seconds: the upper bounds of a histogram's buckets; one more bucket takes what is longer.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
BUCKETS = (*(f"{bound:g}" for bound in BOUNDS), "+Inf")
SUM = "sum"  # in a bucket's place: the sum of all that was observed
Key = tuple[str, ...]  # a name, and the values of its labels


def add(tx: Connection, more: Mapping[Key, float]) -> None:
    """Add to counters; those that are not there begin at zero."""
    for key, value in sorted(more.items()):  # in one order, so that two processes never wait for each other's rows
        row = {"name": key[0], "labels": msgspec.json.encode(key[1:]).decode(), "value": value}
        statement = upsert(tx, tallies).values(row)
        more_of_it = {"value": tallies.c.value + statement.excluded.value}
        tx.execute(statement.on_conflict_do_update(index_elements=["name", "labels"], set_=more_of_it))


def read(tx: Connection) -> dict[Key, float]:
    """All counters."""
    return {(name, *msgspec.json.decode(labels)): value for name, labels, value in tx.execute(select(tallies))}


class Tally:
    """What one process has counted since it last told the ledger."""

    def __init__(self) -> None:
        self._counts: defaultdict[Key, float] = defaultdict(float)
        self._lock = threading.Lock()

    def count(self, *key: str, by: float = 1) -> None:
        """Add `by` to the counter of this name and these labels."""
        with self._lock:
            self._counts[key] += by

    def observe(self, seconds: Sequence[float], *key: str) -> None:
        """Add durations to the histogram of this name and these labels."""
        found = Counter(bisect_left(BOUNDS, each) for each in seconds)
        with self._lock:
            for place, count in found.items():
                self._counts[(*key, BUCKETS[place])] += count
            self._counts[(*key, SUM)] += max(0.0, sum(seconds))

    def take(self) -> dict[Key, float]:
        """What was counted, which is then no longer here; whoever cannot store it gives it back."""
        with self._lock:
            taken, self._counts = self._counts, defaultdict(float)
        return taken

    def give_back(self, taken: Mapping[Key, float]) -> None:
        """Count again what could not be stored."""
        with self._lock:
            for key, value in taken.items():
                self._counts[key] += value
