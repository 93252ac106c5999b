"""The bell: who travels with whom, and what becomes of what cannot be delivered."""

from __future__ import annotations

import time
import uuid

from jobs.bell import Bell, grouped
from jobs.kinds import GROUP

NOWHERE = "redis://127.0.0.1:1/0"


def test_predictions_travel_in_groups_but_alone_in_quarantine() -> None:
    """One of them may take its worker down: there it must not take others along."""
    ids = [str(uuid.uuid4()) for _ in range(GROUP + 1)]
    assert [len(ring.job_ids) for ring in grouped(("predict", "predict", each) for each in ids)] == [GROUP, 1]
    assert {len(ring.job_ids) for ring in grouped(("quarantine", "predict", each) for each in ids)} == {1}
    assert {len(ring.job_ids) for ring in grouped(("bulk", "generate", each) for each in ids)} == {1}


def test_a_bell_without_a_broker_keeps_nothing_and_says_so_once() -> None:
    """However much is rung during an outage, nothing piles up; the ledger has it all."""
    told: list[str] = []
    bell = Bell(NOWHERE, told.append)
    for _ in range(2_000):
        bell.ring([("predict", "predict", str(uuid.uuid4()))])
    end = time.monotonic() + 10
    while not bell._waiting.empty():
        assert time.monotonic() < end
        time.sleep(0.01)
    bell.close()
    assert len(told) == 1 and "does not answer" in told[0]
