"""How good predictions are: one number per metric, and one loss per row for the detector and the gate."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from ml.prediction import Prediction
from ml.rows import Truth
from problems.declaration import METRICS, Problem

TINY = 1e-15


def score(metric: str, truth: Truth, prediction: Prediction) -> float:
    """The metric over n >= 1 rows; a class that is absent from them is left out of an average over classes.

    Raises:
        KeyError: no such metric.
    """
    return float(_SCORES[metric](truth, prediction))


def better(metric: str, one: float, other: float) -> bool:
    """Whether `one` is strictly better than `other`."""
    return one > other if METRICS[metric].higher_is_better else one < other


def figure(value: float) -> str:
    """A score or mean loss as people are told it: three decimals, or three digits where those would be all zeros or no end."""
    return f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1e6 else f"{value:.3g}"


def losses(problem: Problem, truth: Truth, prediction: Prediction, error_scale: float | None) -> NDArray[np.float64]:
    """The detector's loss per row, 0 or 1: a wrong class, or an absolute error above `error_scale`.

    Args:
        error_scale: the 80 % quantile of a regression's absolute errors on the reference, in its unit.

    Raises:
        ValueError: a regression without its scale.
    """
    if problem.task != "regression":
        return np.asarray(truth != prediction.labels, dtype=np.float64)
    if error_scale is None:
        raise ValueError("a regression's losses need the reference's error scale")
    return np.asarray(np.abs(truth - prediction.labels) > error_scale, dtype=np.float64)


def gate_losses(metric: str, truth: Truth, prediction: Prediction) -> NDArray[np.float64]:
    """What each row costs under the metric, for comparing two models row by row; smaller is better.

    The error for mae, its square for rmse, the negative log-likelihood for metrics of probabilities, and
    a wrong class for the others, weighted so that every class weighs the same where the metric does so.
    """
    if metric in ("mae", "rmse"):
        error = np.abs(np.asarray(truth - prediction.labels, dtype=np.float64))
        return np.square(error) if metric == "rmse" else error
    if METRICS[metric].needs_probabilities:
        return -np.log(_given_truth(truth, prediction))
    wrong = np.asarray(truth != prediction.labels, dtype=np.float64)
    if metric == "accuracy":
        return wrong
    _, inverse, counts = np.unique(truth, return_inverse=True, return_counts=True)
    return wrong * (len(truth) / (len(counts) * counts))[inverse]


def _accuracy(truth: Truth, prediction: Prediction) -> float:
    return float(np.mean(truth == prediction.labels))


def _balanced_accuracy(truth: Truth, prediction: Prediction) -> float:
    hit = truth == prediction.labels
    return float(np.mean([hit[truth == each].mean() for each in np.unique(truth)]))


def _f1_macro(truth: Truth, prediction: Prediction) -> float:
    """Mean over the classes seen or said of 2tp / (2tp + fp + fn)."""
    said = prediction.labels
    each = [2 * np.sum((truth == c) & (said == c)) / (np.sum(truth == c) + np.sum(said == c)) for c in np.union1d(truth, said)]
    return float(np.mean(each))


def _roc_auc(truth: Truth, prediction: Prediction) -> float:
    """Mann-Whitney's U / (positives x negatives), averaged one against the rest; .5 for a single class."""
    values = [
        _auc(truth == each, column)
        for each, column in zip(prediction.classes, _columns(prediction).T, strict=True)
        if 0 < np.sum(truth == each) < len(truth)
    ]
    return float(np.mean(values)) if values else 0.5


def _auc(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    count = int(positive.sum())
    ranks = float(rankdata(scores)[positive].sum())
    return (ranks - count * (count + 1) / 2) / (count * (len(positive) - count))


def _log_loss(truth: Truth, prediction: Prediction) -> float:
    return float(-np.log(_given_truth(truth, prediction)).mean())


def _mae(truth: Truth, prediction: Prediction) -> float:
    return float(np.abs(truth - prediction.labels).mean())


def _rmse(truth: Truth, prediction: Prediction) -> float:
    return float(np.sqrt(np.mean((truth - prediction.labels) ** 2)))


def _given_truth(truth: Truth, prediction: Prediction) -> NDArray[np.float64]:
    """The probability given to each true class, at least 1e-15; a class the model does not know has that."""
    known: NDArray[Any] = truth[:, None] == np.array(prediction.classes)
    return np.asarray(np.clip((_columns(prediction) * known).sum(axis=1), TINY, 1.0))


def _columns(prediction: Prediction) -> NDArray[np.float64]:
    if prediction.probabilities is None:
        raise ValueError("this metric needs probabilities")
    return prediction.probabilities


_SCORES = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1_macro": _f1_macro,
    "roc_auc": _roc_auc,
    "log_loss": _log_loss,
    "mae": _mae,
    "rmse": _rmse,
}
