"""Histograms: what a check saw, in the bins of what the version learnt from."""

from __future__ import annotations

import json

import numpy as np

from ml.feature_drift import compare, reference_sketch
from ml.histogram import count_kinds, count_numbers, edges_of
from tests.ml.common import MIXED, mixed_rows, problem

RNG = np.random.default_rng(0)


def test_every_row_is_in_one_bin_wherever_it_lies() -> None:
    """Far outside the reference, missing, or in its middle: the counts and the missing add up to the rows."""
    edges = edges_of(RNG.normal(size=5_000))
    found = count_numbers(edges, np.array([-1e9, 1e9, 0.0, -np.inf, edges[3]]))
    assert len(edges) == 23
    assert len(found["counts"]) == 24
    assert (found["counts"][0], found["counts"][23], found["missing"], sum(found["counts"])) == (1, 1, 1, 4)
    assert found["counts"][4] == 1  # a value on an edge belongs to the bin above it


def test_a_constant_feature_and_one_without_values_have_bins_too() -> None:
    """Width 1 around the constant; nothing but missing values has one bin, and it is empty."""
    edges = edges_of(np.full(100, 7.0))
    assert edges[0] < 7.0 < edges[-1]
    nothing = np.full(3, -np.inf)
    assert count_numbers(edges_of(nothing), nothing) == {"counts": [0], "missing": 3}


def test_kinds_beyond_those_shown_are_counted_together() -> None:
    """The named kinds in their order, and the rest."""
    assert count_kinds(["a", "b"], np.array(["b", "c", "a", "b", "d"], dtype=object)) == {"counts": [1, 2], "others": 2}


def test_a_shift_shows_in_the_histogram_that_the_check_keeps() -> None:
    """Reference and new rows in the same bins; the shifted feature's lie to the right. JSON-able both."""
    sketch = json.loads(json.dumps(reference_sketch(problem(), RNG.normal(size=(2_000, 2)))))
    still, moved = compare(sketch, RNG.normal(size=(1_000, 2)) + np.array([0, 3.0]))
    bins = sketch["bins"]["x2"]
    assert sum(bins["counts"]) == 2_000
    assert moved.histogram is not None
    assert still.histogram is not None
    assert sum(moved.histogram["counts"][12:]) > 950
    assert sum(still.histogram["counts"][12:]) < 600


def test_a_sketch_from_before_there_were_histograms_compares_without_one() -> None:
    """Categories have counts and texts their lengths; an older version's sketch has no bins, and no histogram comes of it."""
    whose = problem(features=MIXED)
    rows, _ = mixed_rows(whose, rows=1_000)
    sketch = json.loads(json.dumps(reference_sketch(whose, rows)))
    assert all(each.histogram is not None for each in compare(sketch, rows))
    del sketch["bins"]
    assert all(each.histogram is None for each in compare(sketch, rows))
