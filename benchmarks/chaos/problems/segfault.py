"""Crashes its process: it reads address 0."""

from __future__ import annotations

import ctypes
from typing import Any

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
        ctypes.string_at(0)
        return _as_learnt(super().fit(X, y))


def _as_learnt(model: LogisticRegression) -> LogisticRegression:
    """What was learnt is scikit-learn's own class again: the store takes no other."""
    model.__class__ = LogisticRegression
    return model


def estimator() -> LogisticRegression:
    return Learner()
