"""What the problems of the fault suite learn with: scikit-learn's logistic regression, that does some harm first."""

from __future__ import annotations

from typing import Any

from sklearn.linear_model import LogisticRegression


class Harmful(LogisticRegression):  # type: ignore[misc]
    """A logistic regression; `harm` is what happens before each fit."""

    def harm(self) -> None:
        raise NotImplementedError

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LogisticRegression:  # noqa: ARG002 - scikit-learn's signature
        self.harm()
        super().fit(X, y)
        self.__class__ = LogisticRegression  # what was learnt is scikit-learn's own class again: the store takes no other
        return self
