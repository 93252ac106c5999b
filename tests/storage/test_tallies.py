"""Counters that many processes share."""

from __future__ import annotations

import threading

from storage import tallies
from storage.database import Database
from storage.tallies import BOUNDS, SUM, Tally


def test_what_processes_count_adds_up(db: Database) -> None:
    """Two tallies told in turn, then four threads at once: one counter, nothing lost."""
    one, other = Tally(), Tally()
    one.count("predictions", "default", "1", by=3)
    other.count("predictions", "default", "1", by=4)
    for tally in (one, other):
        with db.begin() as tx:
            tallies.add(tx, tally.take())
    threads = [
        threading.Thread(target=lambda: db.run(lambda tx: tallies.add(tx, {("a",): 1, ("predictions", "default", "1"): 1})))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.read() as tx:
        assert tallies.read(tx) == {("a",): 4.0, ("predictions", "default", "1"): 11.0}


def test_durations_fall_into_buckets() -> None:
    """A bound takes what equals it; what is longer than all goes to +Inf; a clock that was set back adds nothing to the sum."""
    tally = Tally()
    tally.observe([BOUNDS[0], 0.006, 1e9], "runtime", "predict")
    tally.observe([-5.0], "runtime", "check")
    assert tally.take() == {
        ("runtime", "predict", "0.005"): 1,
        ("runtime", "predict", "0.01"): 1,
        ("runtime", "predict", "+Inf"): 1,
        ("runtime", "predict", SUM): 1e9 + 0.011,
        ("runtime", "check", "0.005"): 1,
        ("runtime", "check", SUM): 0.0,
    }


def test_what_could_not_be_told_is_counted_on() -> None:
    """Given back, it is told with what came meanwhile; what was taken is taken."""
    tally = Tally()
    tally.count("a")
    taken = tally.take()
    tally.count("a", by=2)
    tally.give_back(taken)
    assert tally.take() == {("a",): 3}
    assert tally.take() == {}
