"""A feature that is the label under another name is named; one that is merely good is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ml.leakage import suspects
from ml.rows import from_columns
from problems.declaration import Problem
from tests.ml.common import problem

ROWS = 1_000
FEATURES = {"good": "number", "leak": "number", "noise": "number?", "kind": "category?"}


def look(task: str, leak: Any, truth: Any, **other: Any) -> list[str]:
    rng = np.random.default_rng(1)
    whose: Problem = problem(task, features=FEATURES)
    good = np.asarray(truth, dtype=float) + rng.normal(scale=0.3, size=ROWS)
    noise = np.where(rng.random(ROWS) < 0.2, np.nan, rng.normal(size=ROWS))
    columns = {"good": good, "leak": leak, "noise": noise, "kind": [f"k{n}" for n in rng.permutation(ROWS)], **other}
    return [f"{each.feature} {each.equal}" for each in suspects(whose, from_columns(whose, columns), np.asarray(truth))]


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_codes_thresholds_and_copies_of_the_label_are_named(task: str) -> None:
    """Its copy, its negative, a threshold that cuts without error, and a category per class; an id for each row is none."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2 if task == "binary" else 3, ROWS)
    quiet = rng.normal(size=ROWS)
    assert look(task, truth.astype(float), truth) == ["leak True"]
    assert look(task, -1.0 * truth, truth) == ["leak False"]
    assert look(task, truth + 0.4 * rng.random(ROWS), truth) == ["leak False"]
    assert look(task, quiet, truth, kind=["abc"[n] for n in truth]) == ["kind False"]
    assert look(task, quiet, truth, kind=[str(n) for n in truth]) == ["kind True"]
    assert look(task, quiet, truth) == []


def test_a_regressions_target_in_other_units_is_named() -> None:
    truth = np.random.default_rng(0).normal(size=ROWS)
    assert look("regression", 1.8 * truth + 32, truth) == ["leak False"]
    assert look("regression", np.exp(truth), truth) == ["leak False"]
    assert look("regression", truth + 0.5 * np.random.default_rng(1).normal(size=ROWS), truth) == []


def test_a_rule_with_five_percent_noise_is_no_leak() -> None:
    """What a good feature looks like; and one class alone, or 199 rows, tell nothing."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=ROWS)
    assert look("binary", x, np.where(rng.random(ROWS) < 0.05, x < 0, x > 0).astype(int)) == []
    assert look("binary", x, np.zeros(ROWS, dtype=int)) == []
    whose = problem(features={"leak": "number"})
    few = (x[:199] > 0).astype(int)
    assert suspects(whose, few[:, None].astype(float), few) == []
