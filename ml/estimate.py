"""What the metric would be without labels, from the model's own confidence (CBPE). Valid only if P(y|x) is unchanged.

A row that is said to be of class j with calibrated probabilities p is expected to add p_k to the cell (true k, said j)
of the confusion matrix; the metric of that expected matrix is the estimate. For log_loss it is the mean entropy; for
roc_auc each row counts as positive with weight p_k and as negative with 1 - p_k. (Kivimäki, Białek, Nurminen, Kuberski:
"Confidence-based estimators for predictive performance in model monitoring", 2025; NannyML's CBPE.)

Probabilities are calibrated by one number, the temperature T that minimises the log loss of p^(1/T), normalised, on the
held-out rows (Guo et al., "On calibration of modern neural networks", 2017): it changes no label. A prior of N(0, .5²)
on log T keeps thirty rows without an error from making a model certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from ml.prediction import Prediction
from ml.rows import Truth

CONDITION: Final = "valid only if P(y|x) is unchanged"
SMALLEST_SAMPLE: Final = 100
TINY: Final = 1e-15
COLDEST, HOTTEST, PRIOR = 0.05, 20.0, 0.5


@dataclass(frozen=True, slots=True)
class Estimate:
    """The metric's value on `rows` unlabelled rows, and the condition under which it means anything."""

    metric: str
    value: float
    rows: int
    condition: str = CONDITION


def temperature(truth: Truth, said: Prediction) -> float | None:
    """T, from .05 to 20, of n >= 1 held-out rows; None for a regression, and where no row is of a class that the model knows."""
    if said.probabilities is None:
        return None
    known = truth[:, None] == np.array(said.classes)
    rows = known.any(axis=1)
    if not rows.any():
        return None
    logs, true = np.log(np.clip(said.probabilities[rows], TINY, 1.0)), known[rows]

    def loss(log_t: float) -> float:
        scaled = logs / np.exp(log_t)
        return float((np.logaddexp.reduce(scaled, axis=1) - scaled[true]).sum() + log_t**2 / (2 * PRIOR**2))

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def estimate(metric: str, said: Prediction, t: float) -> Estimate | None:
    """The metric that these predictions would have; None for a regression, and below 100 rows.

    Args:
        t: the temperature of the model that made them.

    Raises:
        KeyError: no such metric of a classification.
    """
    if said.probabilities is None or len(said.labels) < SMALLEST_SAMPLE:
        return None
    p = np.clip(said.probabilities, TINY, 1.0) ** (1 / t)
    p /= p.sum(axis=1, keepdims=True)
    return Estimate(metric, float(_VALUES[metric](p)), len(p))


def _confusion(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected counts, (true, said)."""
    said = np.eye(p.shape[1])[p.argmax(axis=1)]
    return np.asarray(p.T @ said)


def _accuracy(p: NDArray[np.float64]) -> float:
    return float(p.max(axis=1).mean())


def _balanced_accuracy(p: NDArray[np.float64]) -> float:
    matrix = _confusion(p)
    return float(np.mean(matrix.diagonal() / matrix.sum(axis=1)))


def _f1_macro(p: NDArray[np.float64]) -> float:
    matrix = _confusion(p)
    return float(np.mean(2 * matrix.diagonal() / (matrix.sum(axis=0) + matrix.sum(axis=1))))


def _log_loss(p: NDArray[np.float64]) -> float:
    return float(-(p * np.log(p)).sum(axis=1).mean())


def _roc_auc(p: NDArray[np.float64]) -> float:
    """One class against the rest; of two classes both give the same."""
    return float(np.mean([_auc(column) for column in p.T]))


def _auc(p: NDArray[np.float64]) -> float:
    """P(a positive ranks above a negative), ties counting half, of rows that are each both, with these weights."""
    _, group = np.unique(p, return_inverse=True)
    positive, negative = np.bincount(group, p), np.bincount(group, 1 - p)
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))


_VALUES = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1_macro": _f1_macro,
    "log_loss": _log_loss,
    "roc_auc": _roc_auc,
}
