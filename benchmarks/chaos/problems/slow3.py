"""Learns for twenty seconds: long enough to be interrupted."""

from __future__ import annotations

import time
from typing import Any

from sklearn.linear_model import LogisticRegression

SECONDS, FITS = 20.0, 2  # a first training fits a challenger, and the winner once more with the holdout
declared = {
    "task": "binary",
    "label": "label",
    "metric": "accuracy",
    "threshold": 0.5,
    "features": {"x1": "number", "x2": "number"},
}


class Learner(LogisticRegression):  # type: ignore[misc]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LogisticRegression:  # noqa: ARG002 - scikit-learn's signature
        time.sleep(SECONDS / FITS)
        return _as_learnt(super().fit(X, y))


def _as_learnt(model: LogisticRegression) -> LogisticRegression:
    """What was learnt is scikit-learn's own class again: the store takes no other."""
    model.__class__ = LogisticRegression
    return model


def estimator() -> LogisticRegression:
    return Learner()
