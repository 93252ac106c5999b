"""A trial: the same however it is fed, rarely wrong about two equal models, and quick where one is better."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ml.evidence import Evidence
from ml.trial import LIMIT, ROWS, Standing, update, verdict
from tests.ml.test_evidence import paired

PROVEN = Evidence(rows=300, proof=120.0, proof_rows=280)


def test_it_is_the_same_to_the_last_bit_however_the_rows_are_cut() -> None:
    """In parts of ten and through JSON; both sides see the same rows, and none beyond the 2,000th."""
    rows = paired(1, ROWS + 50, 0.1, 0.15)
    state = Standing.from_dict({})
    for each in np.array_split(rows, 200):
        state = Standing.from_dict(json.loads(json.dumps(update(state, each).to_dict())))
    assert state == update(Standing(), rows)
    assert (state.rows, state.worse.rows, state.better.proof_rows) == (ROWS, ROWS, 138)
    assert update(state, np.ones(10)) == state


def test_of_two_equal_models_neither_is_proven_better_more_than_once_in_a_hundred() -> None:
    """500 trials: Ville allows 5 either way."""
    ended = [update(Standing(), paired(seed, ROWS, 0.2, 0.2)) for seed in range(500)]
    assert sum(each.better.proof is not None for each in ended) <= 5
    assert sum(each.worse.proof is not None for each in ended) <= 5


@pytest.mark.parametrize(
    ("challenger", "champion", "rows"), [(0.1, 0.5, 40), (0.1, 0.3, 100), (0.1, 0.2, 300), (0.1, 0.15, 1_000)]
)
def test_the_better_of_two_is_proven_in_time(challenger: float, champion: float, rows: int) -> None:
    """The median of 25 seeded streams, and as soon if it is the champion that is better."""
    for sign, side in ((1, "better"), (-1, "worse")):
        ended = [update(Standing(), sign * paired(seed, ROWS, challenger, champion)) for seed in range(25)]
        assert np.median([getattr(each, side).proof_rows or ROWS for each in ended]) <= rows


@pytest.mark.parametrize(
    ("state", "leads", "overdue", "decided"),
    [
        (Standing(), True, False, None),
        (Standing(better=PROVEN), True, False, "promote"),
        (Standing(better=PROVEN), False, False, None),  # the metric is not of these losses, and does not agree
        (Standing(worse=PROVEN), False, False, "reject"),
        (Standing(worse=PROVEN), True, False, None),
        (Standing(better=Evidence(rows=ROWS)), True, False, "promote"),
        (Standing(better=Evidence(rows=ROWS)), False, False, "reject"),
        (Standing(better=Evidence(rows=100)), True, True, "promote"),
        (Standing(better=Evidence(rows=99)), True, True, "reject"),
        (Standing(better=Evidence(rows=1_999)), False, True, "reject"),
    ],
)
def test_a_proof_counts_with_the_metric_and_without_one_the_metric_decides_at_the_end(
    state: Standing, leads: bool, overdue: bool, decided: str | None
) -> None:
    """The rule as it is written; for want of labels nobody is promoted."""
    assert verdict(state, leads, overdue) == decided


def test_a_proof_of_either_side_is_a_proof() -> None:
    """At 1/alpha = 100."""
    assert not Standing().is_proven
    assert Standing(worse=PROVEN).is_proven and Standing(better=PROVEN).is_proven
    assert replace(PROVEN, proof=LIMIT).statistic == LIMIT
