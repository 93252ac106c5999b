"""Whether one feature alone says all about the label: then it is likely to be the label under another name.

The rows are put in the feature's order (equal values in an order by chance), and each row's label is compared with its
neighbour's: u = mean((y[i+1] - y[i])^2) / (2 Var y), of a classification with one-hot labels, so that it is the share of
neighbours of different classes over that of rows drawn by chance. u is near 1 where the feature says nothing and near 0
where it determines the label, by whatever rule: a threshold, a code for each class, a curve. (Half of the ratio of
von Neumann, 1941; with ranks for y it is what Chatterjee's xi, 2021, subtracts from one.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.rows import Rows, Truth, take
from problems.declaration import Problem

SMALLEST_SAMPLE: Final = 200
LARGEST_SAMPLE: Final = 20_000
CELLS: Final = 2_000_000  # rows times features of the sample: some 0.2 s
UNEXPLAINED: Final = 0.01


@dataclass(frozen=True, slots=True)
class Suspect:
    """A feature that all but determines the label.

    Attributes:
        unexplained: u, at most .01.
        equal: whether its values are the labels themselves.
    """

    feature: str
    unexplained: float
    equal: bool

    def __str__(self) -> str:
        said = "equals the label" if self.equal else f"alone all but determines the label ({1 - self.unexplained:.1%})"
        return f"{self.feature} {said}"


def suspects(problem: Problem, rows: Rows, truth: Truth) -> list[Suspect]:
    """The features that tell too much, of n >= 200 labelled rows; an even sample is looked at of more than 20,000.

    Not all of them are leaks: a rule without noise in one feature looks the same, so this warns and decides nothing.

    Args:
        rows: none that cannot be learnt (`ml.rows.can_be_learnt`).
    """
    size = min(len(truth), LARGEST_SAMPLE, max(SMALLEST_SAMPLE, CELLS // len(problem.features)))
    if size < SMALLEST_SAMPLE:
        return []
    places = np.linspace(0, len(truth) - 1, size).astype(np.int64)
    said = truth[places]
    y = _numbers(problem, said)
    spread = 2 * float(y.var(axis=0).sum())
    if spread == 0:
        return []
    chance = np.random.default_rng(0).random(size)
    found = []
    for name, values in _columns(take(rows, places), problem):
        order = np.lexsort((chance, pd.factorize(values, sort=True)[0] if values.dtype == object else values))
        unexplained = float((np.diff(y[order], axis=0) ** 2).sum(axis=1).mean()) / spread
        if unexplained <= UNEXPLAINED:
            found.append(Suspect(name, round(unexplained, 6), _equal(values, said)))
    return found


def _numbers(problem: Problem, truth: Truth) -> NDArray[np.float64]:
    """Labels as columns: the number itself, or one of 0 and 1 for each class."""
    if problem.task == "regression":
        return np.asarray(truth, dtype=np.float64)[:, None]
    classes, codes = np.unique(truth, return_inverse=True)
    if len(classes) <= 2:
        return np.asarray(codes, dtype=np.float64)[:, None]
    return np.asarray(codes[:, None] == np.arange(len(classes)), dtype=np.float64)


def _columns(rows: Rows, problem: Problem) -> Iterator[tuple[str, NDArray[Any]]]:
    for place, feature in enumerate(problem.features):
        values = rows[:, place] if isinstance(rows, np.ndarray) else rows[feature.name].to_numpy()
        yield feature.name, values if values.dtype == object else np.where(np.isnan(values), -np.inf, values)


def _equal(values: NDArray[Any], truth: Truth) -> bool:
    if values.dtype == object or truth.dtype.kind in "US":
        return bool((values.astype(str) == truth.astype(str)).all())
    return bool((values == truth).all())
