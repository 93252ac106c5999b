"""Kills its worker's main process, and with it every neighbour."""

from __future__ import annotations

import os
import signal
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
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)


def estimator() -> Learner:
    return Learner()
