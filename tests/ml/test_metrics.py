"""Metrics agree with scikit-learn's, and losses are the detector's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as theirs

from ml.metrics import better, figure, gate_losses, losses, score
from ml.prediction import Prediction
from tests.ml.common import problem

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 3, size=200)
PROBABILITIES = RNG.dirichlet([1, 1, 1], size=200) + np.eye(3)[TRUTH] / 2
PROBABILITIES /= PROBABILITIES.sum(axis=1, keepdims=True)
SAID = Prediction(PROBABILITIES.argmax(axis=1), PROBABILITIES, (0, 1, 2))
VALUES = Prediction(np.array([1.0, 2.0, 4.0]))
TARGETS = np.array([1.0, 4.0, 0.0])

EXPECTED = {
    "accuracy": theirs.accuracy_score(TRUTH, SAID.labels),
    "balanced_accuracy": theirs.balanced_accuracy_score(TRUTH, SAID.labels),
    "f1_macro": theirs.f1_score(TRUTH, SAID.labels, average="macro"),
    "roc_auc": theirs.roc_auc_score(TRUTH, PROBABILITIES, multi_class="ovr"),
    "log_loss": theirs.log_loss(TRUTH, PROBABILITIES),
}


@pytest.mark.parametrize("metric", EXPECTED)
def test_a_metric_is_scikit_learns(metric: str) -> None:
    """Three classes, 200 rows: the same number."""
    assert score(metric, TRUTH, SAID) == pytest.approx(EXPECTED[metric], rel=1e-12)


def test_errors_are_in_the_labels_unit() -> None:
    """Errors 0, 2 and 4: mean 2, root mean square sqrt(20/3)."""
    assert score("mae", TARGETS, VALUES) == 2.0
    assert score("rmse", TARGETS, VALUES) == pytest.approx((20 / 3) ** 0.5)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("accuracy", 0.5), ("balanced_accuracy", 0.5), ("f1_macro", 1 / 3), ("roc_auc", 0.5), ("log_loss", np.log(2))],
)
def test_an_absent_class_breaks_no_metric(metric: str, expected: float) -> None:
    """All rows of one class, half of them said right: no warning, no NaN."""
    said = Prediction(np.array([0, 1]), np.array([[0.5, 0.5], [0.5, 0.5]]), (0, 1))
    assert score(metric, np.array([0, 0]), said) == pytest.approx(expected)


def test_a_class_the_model_does_not_know_costs_much_but_not_infinity() -> None:
    """Its probability counts as 1e-15."""
    said = Prediction(np.array(["a"]), np.array([[1.0]]), ("a",))
    assert score("log_loss", np.array(["b"]), said) == pytest.approx(-np.log(1e-15))


def test_better_knows_the_direction() -> None:
    """More accuracy, less error, and no difference is not better."""
    assert better("accuracy", 0.9, 0.8)
    assert better("mae", 1.0, 2.0)
    assert not better("log_loss", 0.5, 0.5)


def test_losses_are_wrong_classes_and_large_errors() -> None:
    """0/1 for classes; for a regression 1 where the error is above the reference's 80 % quantile."""
    said = Prediction(np.array(["a", "b"]), None, ("a", "b"))
    assert losses(problem(), np.array(["a", "a"]), said, None).tolist() == [0.0, 1.0]
    assert losses(problem("regression"), TARGETS, VALUES, 2.0).tolist() == [0.0, 0.0, 1.0]
    with pytest.raises(ValueError, match="error scale"):
        losses(problem("regression"), TARGETS, VALUES, None)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "log_loss", "mae"])
def test_the_gates_losses_average_to_the_metric(metric: str) -> None:
    """Row by row they are what the metric sums, as a loss."""
    truth, said = (TARGETS, VALUES) if metric == "mae" else (TRUTH, SAID)
    expected = score(metric, truth, said)
    assert gate_losses(metric, truth, said).mean() == pytest.approx(1 - expected if "accuracy" in metric else expected)


def test_a_score_is_told_by_digits_that_say_something() -> None:
    """An error of 0.0000421 was told as 0.000, one of 1e305 with three hundred zeros."""
    told = [figure(value) for value in (0.0, 0.9437, -0.25, 0.0421, 0.0000421, 1234.5678, 1e305)]
    assert told == ["0.000", "0.944", "-0.250", "0.042", "4.21e-05", "1234.568", "1e+305"]
