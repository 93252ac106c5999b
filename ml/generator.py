"""Labelled rows with a drift of known kind and strength."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Drift = Literal["none", "covariate", "concept"]


def generate(
    samples: int, features: int, noise: float, drift: Drift, strength: float, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rows x ~ N(0, 1) and the labels 1{w x > 0} with w the unit vector of equal weights.

    `covariate` moves x1 by -1.5 strength and keeps the rule. `concept` keeps the inputs and turns w by
    strength x 90 degrees towards (1, -1, 1, …) made orthogonal to it: at 1 the labels tell nothing of the
    old rule. With one feature it flips the labels of the share strength / 2 of smallest |x|. Each mode
    has the same draws of x and of the flipped labels; strength 0 is exactly `none`.

    Args:
        samples: n >= 1.
        features: d >= 1.
        noise: the expected share of flipped labels, 0 to 1.
        strength: 0 to 1.
        seed: at least 0; the same one gives the same bytes.

    Returns:
        float64 of shape (n, d) and int64 of shape (n,), each 0 or 1.
    """
    for_rows, for_noise = (np.random.default_rng(each) for each in np.random.SeedSequence(seed).spawn(2))
    rows = for_rows.standard_normal((samples, features))
    if drift == "covariate":
        rows[:, 0] -= 1.5 * strength
    turned = strength if drift == "concept" else 0.0
    labels = rows @ _direction(features, turned) > 0
    if features == 1:
        labels ^= np.abs(rows[:, 0]) < norm.ppf(0.5 + turned / 4)
    labels ^= for_noise.random(samples) < noise
    return rows, labels.astype(np.int64)


def _direction(features: int, turned: float) -> NDArray[np.float64]:
    old = np.full(features, features**-0.5)
    if features == 1:
        return old
    new = np.where(np.arange(features) % 2, -1.0, 1.0)
    new -= old * (old @ new)
    angle = turned * np.pi / 2
    return np.asarray(np.cos(angle) * old + np.sin(angle) * new / np.linalg.norm(new))
