"""Bets on the differences of two models: the same however they are fed, and of the kind that the metric judges."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.evidence import LAMBDAS, Evidence, differences, update
from ml.prediction import Prediction
from tests.ml.common import problem


def paired(seed: int, rows: int, mine: float, other: float) -> NDArray[np.float64]:
    """Differences of two models that err independently at these rates."""
    rng = np.random.default_rng(seed)
    return (rng.random(rows) < mine).astype(float) - (rng.random(rows) < other)


def test_it_is_the_rule_as_written_and_the_same_to_the_last_bit_however_the_rows_are_cut() -> None:
    """Plain recurrences to 1e-9, proven at the same row; one at a time and through JSON, the very same state."""
    gains = paired(1, 400, 0.4, 0.2)
    wealth, proven = [1.0] * len(LAMBDAS), 0
    for row, each in enumerate(gains, 1):
        wealth = [w * (1 + bet * each) for w, bet in zip(wealth, LAMBDAS, strict=True)]
        proven = proven or (row if sum(wealth) / len(wealth) >= 1_000 else 0)
    whole = update(Evidence(), gains, 1_000)
    assert proven > 0
    assert whole.proof_rows == proven
    assert np.exp(whole.wealth).tolist() == pytest.approx(wealth, rel=1e-9)
    state = Evidence()
    for each in gains:
        state = Evidence.from_dict(json.loads(json.dumps(update(state, [each], 1_000).to_dict())))
    assert state == whole


def test_a_proof_stays_and_certainty_overflows_nothing() -> None:
    """Rows that say the contrary do not undo it; ten thousand sure gains are a finite number."""
    proven = update(Evidence(), np.ones(50), 100)
    assert update(proven, -np.ones(500), 100).proof == proven.proof == proven.statistic
    assert math.isfinite(update(Evidence(), np.ones(10_000), math.inf).statistic)


@pytest.mark.parametrize("gains", [[1.5], [-1.1], [math.nan], [[0.0]]])
def test_a_gain_is_one_number_from_minus_1_to_1(gains: list[float]) -> None:
    """Others would break the bound."""
    with pytest.raises(ValueError, match="from -1 to 1"):
        update(Evidence(), gains, 100)


def test_the_differences_are_of_the_kind_that_the_metric_judges() -> None:
    """Wrong labels; half a Brier score, also of a class unknown to one; errors in units of the scale, cut at one."""
    truth = np.array([0, 1])
    sure, torn = (Prediction(np.array([0, 0]), np.array([[p, 1 - p]] * 2), (0, 1)) for p in (1.0, 0.5))
    blind = Prediction(np.array([0, 0]), np.array([[1.0]] * 2), (0,))
    right = Prediction(truth, np.array([[1.0, 0.0], [0.0, 1.0]]), (0, 1))
    assert differences(problem(), truth, sure, right, None).tolist() == [0, 1]
    brier = problem(metric="log_loss", threshold=1)
    assert differences(brier, truth, torn, right, None).tolist() == [0.25, 0.25]
    assert differences(brier, truth, blind, right, None).tolist() == [0, 1]
    values = np.array([10.0, 10.0])
    near, far = Prediction(np.array([10.5, 9.0])), Prediction(np.array([11.0, 50.0]))
    whose = problem("regression", "linear_model.LinearRegression", threshold=1)
    assert differences(whose, values, far, near, 2.0).tolist() == [0.25, 1.0]
    assert differences(whose, values, near, far, 2.0).tolist() == [-0.25, -1.0]
    with pytest.raises(ValueError, match="error scale"):
        differences(whose, values, near, far, None)
