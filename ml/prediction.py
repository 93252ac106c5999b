"""From a fitted model and rows to labels, probabilities or values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from ml.rows import Rows
from problems.declaration import Problem
from problems.labels import Label


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of n rows.

    Attributes:
        labels: shape (n,): classes, or float64 values of a regression.
        probabilities: shape (n, k), rows sum to 1; None for a regression.
        classes: the k classes in the probabilities' order, as they were taught; () for a regression.
    """

    labels: NDArray[Any]
    probabilities: NDArray[np.float64] | None = None
    classes: tuple[Label, ...] = ()

    def cut(self, where: slice) -> Prediction:
        """What it says of the rows at these places."""
        probabilities = None if self.probabilities is None else self.probabilities[where]
        return Prediction(self.labels[where], probabilities, self.classes)

    def label_list(self) -> list[Label]:
        """The labels as Python's bool, int, float or str."""
        return self.labels.tolist()  # type: ignore[no-any-return]  # scalars of the labels' type


def joined(parts: Sequence[Prediction]) -> Prediction:
    """What one model says of the rows of all parts, at least one, in order."""
    shares = [part.probabilities for part in parts if part.probabilities is not None]
    labels = np.concatenate([part.labels for part in parts])
    return Prediction(labels, np.concatenate(shares) if shares else None, parts[0].classes)


def predict(model: Pipeline, problem: Problem, rows: Rows) -> Prediction:
    """Label each row with its most probable class, or value it.

    Args:
        model: fitted to this problem.
        rows: n >= 1 rows as `ml.rows.unpack` gives them.

    Raises:
        ValueError: the rows do not fit the model, or the model's numbers are not finite.
    """
    last, rows = _prepared(model, rows)
    if problem.task == "regression":
        values = np.asarray(last.predict(rows), dtype=np.float64).reshape(-1)
        return Prediction(_finite(values))
    probabilities = _finite(_probabilities(last, rows))
    classes: NDArray[Any] = last.classes_
    return Prediction(classes[probabilities.argmax(axis=1)], probabilities, tuple(classes.tolist()))


def _prepared(model: Pipeline, rows: Rows) -> tuple[Any, Any]:
    """The last step, and the rows as it takes them.

    A matrix is standardised here: scikit-learn's checks of one row take longer than its prediction.
    """
    for _, step in model.steps[:-1]:
        if type(step) is StandardScaler and _is_matrix_for(step, rows):
            centred = rows - step.mean_
            rows = np.divide(centred, step.scale_, out=centred)  # fresh memory costs as much as the division
        elif step not in (None, "passthrough"):
            rows = step.transform(rows)
    return model.steps[-1][1], rows


def _is_matrix_for(step: StandardScaler, rows: Rows) -> bool:
    whole = step.with_mean and step.with_std
    return bool(whole and isinstance(rows, np.ndarray) and rows.shape[1] == step.n_features_in_)


def _probabilities(model: Any, rows: Any) -> NDArray[np.float64]:
    if type(model) is LogisticRegression and isinstance(rows, np.ndarray) and rows.shape[1] == model.n_features_in_:
        return _logistic(model, rows)
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(rows), dtype=np.float64)
    if hasattr(model, "decision_function"):
        score = np.asarray(model.decision_function(rows), dtype=np.float64)
        return np.column_stack([expit(-score), expit(score)]) if score.ndim == 1 else softmax(score, axis=1)
    return np.asarray(model.predict(rows)[:, None] == model.classes_, dtype=np.float64)


def _logistic(model: LogisticRegression, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """What its `predict_proba` computes, without scikit-learn's checks: they take 0.3 ms, this 0.01. NaN is told by `_finite`."""
    scores = rows @ model.coef_.T + model.intercept_
    if scores.shape[1] > 1:
        return np.asarray(softmax(scores, axis=1))
    positive = expit(scores[:, 0])
    return np.stack([1 - positive, positive], axis=1)


def _finite(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(numbers).all():
        raise ValueError("the model's predictions are not finite")
    return numbers
