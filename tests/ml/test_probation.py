"""Probation: the same however it is fed, rarely wrong about a good promotion, quick with a bad one."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.prediction import Prediction
from ml.probation import LAMBDAS, LIMIT, ROWS, Probation, differences, update
from tests.ml.common import problem


def paired(seed: int, rows: int, mine: float, other: float) -> NDArray[np.float64]:
    """Differences of two models that err independently at these rates."""
    rng = np.random.default_rng(seed)
    return (rng.random(rows) < mine).astype(float) - (rng.random(rows) < other)


def test_it_is_the_rule_as_written_and_the_same_to_the_last_bit_however_the_rows_are_cut() -> None:
    """Plain recurrences to 1e-9, proven at the same row; one at a time and through JSON, the very same state."""
    worse = paired(1, 400, 0.4, 0.2)
    wealth, proven = [1.0] * len(LAMBDAS), 0
    for row, each in enumerate(worse, 1):
        wealth = [w * (1 + bet * each) for w, bet in zip(wealth, LAMBDAS, strict=True)]
        proven = proven or (row if sum(wealth) / len(wealth) >= LIMIT else 0)
    whole = update(Probation("1"), worse)
    assert proven > 0
    assert whole.proof_rows == proven
    assert np.exp(whole.wealth).tolist() == pytest.approx(wealth, rel=1e-9)
    state = Probation("1")
    for each in worse:
        state = Probation.from_dict(json.loads(json.dumps(update(state, [each]).to_dict())))
    assert state == whole


def test_of_two_equal_models_less_than_one_promotion_in_a_thousand_is_taken_back() -> None:
    """2,000 probations against an equal that errs elsewhere; Ville allows 2, five would be a chance of 1 in 19."""
    lost = [seed for seed in range(2_000) if update(Probation("1"), paired(seed, ROWS, 0.2, 0.2)).proof is not None]
    assert len(lost) <= 4


@pytest.mark.parametrize(("mine", "rows"), [(0.5, 60), (0.3, 150), (0.2, 600)])
def test_a_worse_model_is_proven_in_time(mine: float, rows: int) -> None:
    """Against a predecessor that errs in .10: the median of 100 seeded streams."""
    proven = [update(Probation("1"), paired(seed, ROWS, mine, 0.1)).proof_rows or ROWS for seed in range(100)]
    assert np.median(proven) <= rows


def test_it_ends_after_its_rows_and_a_proof_stays() -> None:
    """What comes after the 2,000th row is not looked at; better rows later do not undo a proof."""
    calm = update(Probation("1"), np.zeros(ROWS))
    assert calm.is_over
    assert update(calm, np.ones(500)) == calm
    proven = update(Probation("1"), np.ones(50))
    assert update(proven, -np.ones(500)).proof == proven.proof == proven.statistic
    assert math.isfinite(update(Probation("1"), np.ones(ROWS)).statistic)


@pytest.mark.parametrize("worse", [[1.5], [-1.1], [math.nan], [[0.0]]])
def test_a_difference_is_one_number_from_minus_1_to_1(worse: list[float]) -> None:
    """Others would break the bound."""
    with pytest.raises(ValueError, match="from -1 to 1"):
        update(Probation("1"), worse)


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
