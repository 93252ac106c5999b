"""Never returns."""

from __future__ import annotations

import time
from typing import Any, NoReturn

from sklearn.linear_model import LogisticRegression

declared = {
    "task": "binary",
    "label": "label",
    "metric": "accuracy",
    "threshold": 0.5,
    "features": {"x1": "number", "x2": "number"},
}


class Learner(LogisticRegression):  # type: ignore[misc]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> NoReturn:  # noqa: ARG002 - scikit-learn's signature
        while True:
            time.sleep(1.0)


def estimator() -> LogisticRegression:
    return Learner()
