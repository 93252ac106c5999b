"""Which of two models is better on the same rows: bets on the differences of their losses, row by row.

For each labelled row the gain g is one model's loss minus the other's, in [-1, 1]. For each bet lambda the wealth
W <- W (1 + lambda g) starts at 1. While at no row the other is expected to be better (E[g | past] <= 0), every W and
their mean is a nonnegative supermartingale, so by Ville's inequality

    P(mean(W) ever reaches 1/alpha) <= alpha,

however often one looks and however the rows are cut. Betting on bounded means: Waudby-Smith and Ramdas,
"Estimating means of bounded random variables by betting", 2024; on the differences of two forecasters'
scores: Choe and Ramdas, "Comparing sequential forecasters", 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ml.prediction import Prediction
from ml.rows import Truth
from problems.declaration import METRICS, Problem

LAMBDAS: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
LARGEST_LOG: Final = 600.0  # of a mean that is shown: a model that is always wrong overflows nothing
SMALLEST_SCALE: Final = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is remembered of the bets.

    Attributes:
        rows: how many were compared.
        wealth: log W after them, one for each lambda.
        proof: mean(W) where it first reached its limit; it stays.
        proof_rows: how many rows that took.
    """

    rows: int = 0
    wealth: tuple[float, ...] = (0.0,) * len(LAMBDAS)
    proof: float | None = None
    proof_rows: int | None = None

    @property
    def statistic(self) -> float:
        """mean(W) where it reached the limit, else after the last row."""
        return self.proof if self.proof is not None else float(_means(np.array([self.wealth]))[0])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; floats survive JSON exactly."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`, also after a journey through JSON.

        Raises:
            TypeError: other keys than ours.
        """
        values: dict[str, Any] = {key: tuple(value) if key == "wealth" else value for key, value in stored.items()}
        return cls(**values)


Some = TypeVar("Some", bound=Evidence)


def update(state: Some, gains: ArrayLike, limit: float) -> Some:
    """The state after these gains, each in [-1, 1], oldest first.

    Args:
        limit: 1/alpha, which mean(W) reaches with probability at most alpha if there is nothing to prove.

    Raises:
        ValueError: a gain outside [-1, 1], or not one dimension.
    """
    values = np.asarray(gains, dtype=np.float64)
    if values.ndim != 1 or not ((values >= -1) & (values <= 1)).all():
        raise ValueError("differences must be one column of numbers from -1 to 1")
    if not len(values):
        return state
    steps = np.log1p(np.multiply.outer(values, LAMBDAS))
    walks = np.add.accumulate(np.concatenate([[state.wealth], steps]), axis=0)[1:]
    after = replace(state, rows=state.rows + len(values), wealth=tuple(walks[-1].tolist()))
    means = _means(walks)
    crossed = np.flatnonzero(means >= limit)
    if state.proof is not None or not len(crossed):
        return after
    at = int(crossed[0])
    return replace(after, proof=float(means[at]), proof_rows=state.rows + at + 1)


def differences(
    problem: Problem, truth: Truth, one: Prediction, other: Prediction, error_scale: float | None
) -> NDArray[np.float64]:
    """How much worse the one is than the other at each row, in [-1, 1].

    Of labels: wrong or right. Of probabilities, where the metric is of these: half the Brier score. Of values:
    the difference of the absolute errors (of their squares for rmse) in units of `error_scale`, cut at one.

    Args:
        error_scale: the 80 % quantile of the absolute errors of the older of the two when it was trained; None for classes.

    Raises:
        ValueError: a regression without its scale.
    """
    if problem.task == "regression":
        return _of_values(problem.metric, truth, one, other, error_scale)
    loss = _half_brier if METRICS[problem.metric].needs_probabilities else _wrong
    return loss(truth, one) - loss(truth, other)


def _means(walks: NDArray[np.float64]) -> NDArray[np.float64]:
    """mean(W) of each row of log W; also where W itself would overflow."""
    return np.asarray(np.exp(np.minimum(walks, LARGEST_LOG)).mean(axis=1))


def _wrong(truth: Truth, said: Prediction) -> NDArray[np.float64]:
    return np.asarray(truth != said.labels, dtype=np.float64)


def _half_brier(truth: Truth, said: Prediction) -> NDArray[np.float64]:
    """1/2 sum over the classes of (p - [the true one])^2, 0 to 1; a class that the model does not know has p = 0."""
    if said.probabilities is None:
        raise ValueError("this metric needs probabilities")
    p = said.probabilities
    true = (p * (truth[:, None] == np.array(said.classes))).sum(axis=1)
    return np.asarray(np.clip((np.square(p).sum(axis=1) - 2 * true + 1) / 2, 0.0, 1.0))


def _of_values(metric: str, truth: Truth, one: Prediction, other: Prediction, error_scale: float | None) -> NDArray[np.float64]:
    if error_scale is None:
        raise ValueError("a regression's errors need the error scale of the older model")
    scale = max(error_scale, SMALLEST_SCALE)
    power = 2 if metric == "rmse" else 1
    mine, others = (np.abs((truth - said.labels) / scale) ** power for said in (one, other))
    return np.asarray(np.clip(mine - others, -1.0, 1.0), dtype=np.float64)
