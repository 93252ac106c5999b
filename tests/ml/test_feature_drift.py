"""Features that moved are named, and others are left in peace."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2_contingency, ks_2samp

from ml.feature_drift import compare, reference_sketch
from ml.rows import from_columns
from tests.ml.common import MIXED, mixed_rows, problem

RNG = np.random.default_rng(0)
REFERENCE = RNG.normal(size=(20_000, 2))
SKETCH = json.loads(json.dumps(reference_sketch(problem(), REFERENCE)))


def test_the_feature_that_moved_is_the_one_that_is_named() -> None:
    """x2 shifted by half a deviation; the distance and p are scipy's, the sketch costs less than .002."""
    rows = RNG.normal(size=(5_000, 2)) + np.array([0, 0.5])
    still, moved = compare(SKETCH, rows)
    exact = ks_2samp(REFERENCE[:, 1], rows[:, 1])
    assert (still.feature, still.test, still.drifted) == ("x1", "ks", False)
    assert (moved.feature, moved.drifted) == ("x2", True)
    assert moved.distance == pytest.approx(exact.statistic, abs=0.002)
    assert moved.psi > 0.2 > 0.02 > still.psi
    assert moved.p < 1e-50 < still.p


def test_a_tiny_shift_is_no_drift_however_certain() -> None:
    """A distance below .1 does not count, although its p would."""
    (still, moved) = compare(SKETCH, np.random.default_rng(1).normal(size=(100_000, 2)) + np.array([0, 0.15]))
    assert moved.p < 1e-9
    assert not moved.drifted
    assert not still.drifted


def test_a_week_of_checks_without_drift_names_nothing() -> None:
    """400 windows of 600 rows each: no feature drifts."""
    rng = np.random.default_rng(2)
    assert not any(each.drifted for _ in range(400) for each in compare(SKETCH, rng.normal(size=(600, 2))))


def test_too_few_rows_are_not_judged() -> None:
    """Below 500 rows PSI and KS are noise."""
    assert compare(SKETCH, REFERENCE[:499]) == []


def test_categories_texts_and_missing_values_are_compared_too() -> None:
    """A category's shares, a text's length, and how often a number is missing."""
    whose = problem(features=MIXED)
    rows, _ = mixed_rows(whose, rows=3_000)
    sketch = json.loads(json.dumps(reference_sketch(whose, rows)))
    calm = mixed_rows(whose, rows=2_000, seed=1)[0]
    assert not any(each.drifted for each in compare(sketch, calm))
    n = np.where(RNG.random(2_000) < 0.4, np.nan, RNG.normal(size=2_000))
    moved: dict[str, Any] = {
        "n": n,
        "b": np.ones(2_000),
        "c": ["red"] * 1_900 + ["green"] * 100,
        "t": ["a much longer text than any before"] * 2_000,
    }
    found = {each.feature: each for each in compare(sketch, from_columns(whose, moved))}
    assert all(each.drifted for each in found.values())
    assert found["c"].test == "chi2"
    assert found["n"].distance == pytest.approx(0.3, abs=0.05)


def test_categories_are_compared_by_the_test_of_chi_square() -> None:
    """p is scipy's for the same table, in which a kind that was not there before counts with all others; distances by hand."""
    whose = problem(features={"c": "category"})
    before = ["red"] * 600 + ["blue"] * 400
    sketch = json.loads(json.dumps(reference_sketch(whose, from_columns(whose, {"c": before}))))
    after = ["red"] * 280 + ["blue"] * 215 + ["green"] * 5
    (found,) = compare(sketch, from_columns(whose, {"c": after}))
    assert found.p == pytest.approx(chi2_contingency([[600, 280], [400, 215], [0, 5]], correction=False).pvalue)
    assert found.distance == pytest.approx((0.6 - 0.56 + 0.43 - 0.4 + 0.01) / 2)
    (same,) = compare(sketch, from_columns(whose, {"c": before}))
    assert same.p == pytest.approx(1.0)
    assert same.distance == 0.0


def test_twenty_features_and_ten_thousand_rows_take_little_time() -> None:
    """Below a fifth of a second of CPU on any machine (11 ms where it was written)."""
    whose = problem(features={f"f{i}": "number" for i in range(20)})
    sketch = reference_sketch(whose, RNG.normal(size=(5_000, 20)))
    rows = RNG.normal(size=(10_000, 20))
    began = time.process_time()
    compare(sketch, rows)
    assert time.process_time() - began < 0.2
