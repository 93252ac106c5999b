"""Learns for twenty seconds: long enough to be interrupted."""

from __future__ import annotations

import time

from benchmarks.chaos.harmful import Harmful

SECONDS, FITS = 20.0, 2  # a first training fits a challenger, and the winner once more with the holdout
declared = {
    "task": "binary",
    "label": "label",
    "metric": "accuracy",
    "threshold": 0.5,
    "features": {"x1": "number", "x2": "number"},
}


class Learner(Harmful):
    def harm(self) -> None:
        time.sleep(SECONDS / FITS)


def estimator() -> Learner:
    return Learner()
