"""Probation: rarely wrong about a good promotion, quick with a bad one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ml.probation import LIMIT, ROWS, Probation, update
from tests.ml.test_evidence import paired


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
    assert proven.proof >= LIMIT
    assert Probation.from_dict(json.loads(json.dumps(proven.to_dict()))) == proven
    assert Probation.from_dict({"against": "1"}) == Probation("1")
