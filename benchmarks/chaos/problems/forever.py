"""Never returns."""

from __future__ import annotations

import time

from benchmarks.chaos.harmful import Harmful

declared = {
    "task": "binary",
    "label": "label",
    "metric": "accuracy",
    "threshold": 0.5,
    "features": {"x1": "number", "x2": "number"},
}


class Learner(Harmful):
    def harm(self) -> None:
        while True:
            time.sleep(1.0)


def estimator() -> Learner:
    return Learner()
