"""Generated rows drift as asked, and not otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ml.generator import Drift, generate


def old_rule(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(rows.sum(axis=1) > 0)


@pytest.mark.parametrize("drift", ["none", "covariate", "concept"])
def test_the_same_seed_gives_the_same_bytes(drift: Drift) -> None:
    """Rows and labels; another seed gives others."""
    (rows, labels), (again, same), (other, _) = (generate(300, 3, 0.1, drift, 0.5, seed) for seed in (1, 1, 2))
    assert rows.tobytes() == again.tobytes()
    assert labels.tobytes() == same.tobytes()
    assert rows.tobytes() != other.tobytes()
    assert rows.shape == (300, 3)
    assert rows.dtype == np.float64
    assert labels.dtype == np.int64


@pytest.mark.parametrize("features", [1, 2, 5])
@pytest.mark.parametrize("drift", ["covariate", "concept"])
def test_no_strength_is_no_drift(drift: Drift, features: int) -> None:
    """Strength 0 is `none` to the byte."""
    rows, labels = generate(500, features, 0.1, drift, 0.0, seed=3)
    same, as_well = generate(500, features, 0.1, "none", 1.0, seed=3)
    assert rows.tobytes() == same.tobytes()
    assert labels.tobytes() == as_well.tobytes()


@pytest.mark.parametrize("features", [1, 2, 3, 10])
def test_concept_drift_moves_the_rule_and_not_the_inputs(features: int) -> None:
    """At strength 1 the old rule scores at chance, at .5 between; both classes stay; x has the same bytes."""
    plain, _ = generate(20_000, features, 0.0, "none", 0.0, seed=4)
    right = {}
    for strength in (0.0, 0.5, 1.0):
        rows, labels = generate(20_000, features, 0.0, "concept", strength, seed=4)
        assert rows.tobytes() == plain.tobytes()
        assert 0.4 < labels.mean() < 0.6
        right[strength] = np.mean(old_rule(rows) == labels)
    assert right[0.0] == 1.0
    assert right[0.5] == pytest.approx(0.75, abs=0.02)
    assert right[1.0] == pytest.approx(0.5, abs=0.02)


def test_covariate_drift_moves_the_inputs_and_not_the_rule() -> None:
    """x1 moves by -1.5, the others stay, and the old rule is still right."""
    plain, _ = generate(2_000, 3, 0.0, "none", 0.0, seed=5)
    rows, labels = generate(2_000, 3, 0.0, "covariate", 1.0, seed=5)
    np.testing.assert_allclose(rows - plain, np.tile([-1.5, 0, 0], (2_000, 1)))
    assert (old_rule(rows) == labels).all()
    assert 0 < labels.mean() < 0.5


def test_noise_is_the_share_of_flipped_labels() -> None:
    """None, a fifth, all."""
    flipped = {}
    for noise in (0.0, 0.2, 1.0):
        rows, labels = generate(20_000, 2, noise, "none", 0.0, seed=6)
        flipped[noise] = np.mean(old_rule(rows) != labels)
    assert (flipped[0.0], flipped[1.0]) == (0.0, 1.0)
    assert flipped[0.2] == pytest.approx(0.2, abs=0.01)
