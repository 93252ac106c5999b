"""The estimate without labels: right where P(y|x) is unchanged, blind where it is not, and calibrated before."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.challenger import train
from ml.estimate import CONDITION, estimate, temperature
from ml.generator import generate
from ml.metrics import score
from ml.prediction import Prediction, predict
from tests.ml.common import problem


def drawn(k: int, rows: int = 20_000, sharpness: float = 1.0) -> tuple[NDArray[np.int64], Prediction]:
    """Truths drawn from known probabilities over k classes, and a prediction that says p^sharpness."""
    rng = np.random.default_rng(k)
    p = rng.dirichlet(np.ones(k) * 0.7, size=rows)
    truth = (p.cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1)
    said = np.clip(p, 1e-12, 1) ** sharpness
    said /= said.sum(axis=1, keepdims=True)
    return truth, Prediction(said.argmax(axis=1), said, tuple(range(k)))


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "f1_macro", "roc_auc", "log_loss"])
@pytest.mark.parametrize("k", [2, 4])
def test_calibrated_confidence_gives_the_metric(metric: str, k: int) -> None:
    """Within .01 of what the labels say, for two classes and for four."""
    truth, said = drawn(k)
    found = estimate(metric, said, 1.0)
    assert found is not None
    assert (found.metric, found.rows, found.condition) == (metric, 20_000, CONDITION)
    assert found.value == pytest.approx(score(metric, truth, said), abs=0.01)


@pytest.mark.parametrize("sharpness", [0.4, 2.5])
def test_a_model_that_is_too_sure_or_too_shy_is_calibrated_on_its_holdout(sharpness: float) -> None:
    """The temperature is found; without it the estimate would be off by more than .03, with it by less than .01."""
    truth, said = drawn(3, sharpness=sharpness)
    t = temperature(truth, said)
    assert t == pytest.approx(sharpness, rel=0.05)
    right, plain = estimate("accuracy", said, t or 0.0), estimate("accuracy", said, 1.0)
    assert right is not None and plain is not None
    true = score("accuracy", truth, said)
    assert abs(right.value - true) < 0.01 < 0.03 < abs(plain.value - true)


def test_it_follows_moved_inputs_and_is_blind_to_a_turned_rule() -> None:
    """A real model: its estimate holds under covariate drift; under concept drift it stays high while the truth falls."""
    whose = problem()
    rows, labels = generate(4_000, 2, 0.1, "none", 0.0, 1)
    made = train(whose, rows, labels, None, None, 0, "first")
    assert made.model is not None and made.temperature is not None
    errors = {}
    for drift in ("covariate", "concept"):
        moved, truth = generate(2_000, 2, 0.1, drift, 1.0, 2)
        said = predict(made.model, whose, moved)
        found = estimate("accuracy", said, made.temperature)
        assert found is not None
        errors[drift] = found.value - score("accuracy", truth, said)
    assert abs(errors["covariate"]) < 0.1 < 0.3 < errors["concept"]


def test_where_there_is_no_confidence_there_is_no_estimate() -> None:
    """A regression; fewer than a hundred rows; a holdout of unknown classes only."""
    values = Prediction(np.zeros(200))
    assert (temperature(np.zeros(200), values), estimate("mae", values, 1.0)) == (None, None)
    truth, said = drawn(2, rows=99)
    assert estimate("accuracy", said, 1.0) is None
    assert temperature(truth + 7, said) is None
