"""Eats memory until there is no more: one GiB, for the machine is not its own."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

declared = {
    "task": "binary",
    "label": "label",
    "metric": "accuracy",
    "threshold": 0.5,
    "features": {"x1": "number", "x2": "number"},
}


class Learner(LogisticRegression):  # type: ignore[misc]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LogisticRegression:  # noqa: ARG002 - scikit-learn's signature
        limits = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), limits[1]))
        try:
            eaten = [np.ones(1 << 22) for _ in range(1_000)]
            return _as_learnt(super().fit(eaten[0][: len(X)], y))
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)


def _as_learnt(model: LogisticRegression) -> LogisticRegression:
    """What was learnt is scikit-learn's own class again: the store takes no other."""
    model.__class__ = LogisticRegression
    return model


def estimator() -> LogisticRegression:
    return Learner()
