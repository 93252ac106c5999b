"""What is enqueued how often. Data only: Celery beat reads it, `tests/test_schedule.py` checks it against what runs."""

from __future__ import annotations

from typing import Any

from jobs.kinds import CHECKS, TICK
from settings import Settings


def schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """Celery's `beat_schedule`: one tick per interval, which asks for a check of every model.

    A tick that nobody took within its interval is dropped: the next one asks for the same.
    """
    every = settings.check_interval_seconds
    return {
        "check-every-model": {
            "task": TICK,
            "schedule": every,
            "options": {"queue": CHECKS, "expires": max(every, 2.0)},
        }
    }
