"""Crashes its process: it reads address 0."""

from __future__ import annotations

import ctypes

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
        ctypes.string_at(0)


def estimator() -> Learner:
    return Learner()
