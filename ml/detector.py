"""The e-SR change detector on labelled losses (learning.md, steps 2 to 4 and the floor of step 8).

For each lambda a Shiryaev-Roberts e-process S <- (S + 1)(1 + lambda (loss - mu0)); their mean raises the
alarm at the limit c. While E[loss | past] <= mu0, mean(S) - rows is a supermartingale, so the expected
number of rows to a false alarm is at least c, however often one looks (Shin, Ramdas, Rinaldo: E-detectors,
2022). Beside each runs a CUSUM of log(1 + lambda (loss - mu0)), whose last reset dates the change.

Within a block of 256 rows counted from the detector's first, S is A (S_start + C) with A the running
product and C the running sum of 1/A before each row. Those are carried from chunk to chunk as
they stand, so the state is the same to the last bit however the rows are cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

LAMBDAS: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
BLOCK: Final = 256
CEILING: Final = 1e200  # of S at the start of a block, so that a champion wrong for weeks does not overflow
SMALLEST_FLOOR: Final = 0.005
WEEK_S: Final = 7 * 86_400.0
SHORTEST_RATE_S: Final = 3_600.0
Floats = tuple[float, ...]
ZEROS: Final[Floats] = (0.0,) * len(LAMBDAS)
ONES: Final[Floats] = (1.0,) * len(LAMBDAS)


@dataclass(frozen=True, slots=True)
class Reference:
    """The champion's mean loss on `rows` held-out rows, and the loss mu0 above which it counts as worse."""

    error: float
    rows: int
    mu0: float


@dataclass(frozen=True, slots=True)
class Alarm:
    """The first crossing: its row (from 0), mean(S) there, the rows since the change with that row."""

    row: int
    statistic: float
    rows_since_change: int


@dataclass(frozen=True, slots=True)
class DetectorState:
    """All that a detector remembers; one float or int per lambda in the tuples.

    Attributes:
        mu0: the loss under the null hypothesis, 0 to 1.
        limit: c, where mean(S) raises the alarm.
        rows: how many were processed.
        start, product, total: S at the block's start, A and C since then.
        walk, lowest, reset: the CUSUM's random walk, its minimum, the row count when it stood there last.
        alarm: the first one; it stays, and processing goes on.
    """

    mu0: float
    limit: float
    rows: int = 0
    start: Floats = ZEROS
    product: Floats = ONES
    total: Floats = ZEROS
    walk: Floats = ZEROS
    lowest: Floats = ZEROS
    reset: tuple[int, ...] = (0,) * len(LAMBDAS)
    alarm: Alarm | None = None

    @property
    def evidence(self) -> float:
        """mean(S) after the last row."""
        return statistic(self)

    @property
    def why(self) -> str:
        """What an alarm says, in words."""
        shown = self.alarm.statistic if self.alarm else self.evidence
        return f"its labelled loss is above its reference: evidence {shown:,.0f} ≥ {self.limit:,.0f}"

    def after(self, losses: ArrayLike) -> DetectorState:
        """As `update`."""
        return update(self, losses)

    def with_limit(self, limit: float) -> DetectorState:
        """At another limit, unless an alarm has been raised at this one."""
        return self if self.alarm else replace(self, limit=limit)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; floats survive JSON exactly."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> DetectorState:
        """The inverse of `to_dict`, also after a journey through JSON.

        Raises:
            TypeError: other keys than ours.
        """
        alarm = stored.get("alarm")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list | tuple) else value for key, value in stored.items()
        }
        return cls(**{**values, "alarm": Alarm(**alarm) if alarm else None})


def reference(error: float, rows: int) -> Reference:
    """mu0 = e + max(.02, 3 sqrt(s (1 - s) / n)), at most 1, for a mean loss e in [0, 1] over n >= 1 rows.

    The standard error takes s = (e n + 1) / (n + 2) in place of e (Laplace's rule of succession): no error
    in thirty rows is not yet a model without error, and for a thousand rows the two are the same.
    """
    smooth = (error * rows + 1) / (rows + 2)
    margin = max(0.02, 3 * (smooth * (1 - smooth) / rows) ** 0.5)
    return Reference(error, rows, min(1.0, error + margin))


def limit(rows_per_week: float) -> float:
    """c = max(10,000, twice the labelled rows of a week): at most one false alarm in two weeks."""
    return max(10_000.0, 2.0 * rows_per_week)


def rows_a_week(rows: int, seconds: float) -> float:
    """The rate of labels; of less than an hour there is none that could be relied on, and the rows themselves count."""
    return rows * WEEK_S / seconds if seconds >= SHORTEST_RATE_S else float(rows)


def start(mu0: float, limit: float) -> DetectorState:
    """A detector that has seen nothing."""
    return DetectorState(mu0, limit)


def start_floor(metric: str, threshold: float, holdout_score: float, limit: float) -> DetectorState | None:
    """The performance floor: the same detector with mu0 = 1 - threshold and c doubled.

    Only accuracy is one minus the mean loss; for other metrics, and for a champion that was below the
    threshold on its holdout, there is none.
    """
    if metric != "accuracy" or holdout_score < threshold:
        return None
    return DetectorState(max(1.0 - threshold, SMALLEST_FLOOR), 2.0 * limit)


def statistic(state: DetectorState) -> float:
    """mean(S) after the last row."""
    parts = zip(state.product, state.start, state.total, strict=True)
    return sum(product * (s + total) for product, s, total in parts) / len(LAMBDAS)


def rows_since_change(state: DetectorState) -> int:
    """Rows since the last reset of the CUSUM that stands highest; 0 if none does."""
    heights = np.subtract(state.walk, state.lowest)
    return state.rows - state.reset[int(heights.argmax())]


def update(state: DetectorState, losses: ArrayLike) -> DetectorState:
    """The state after these losses, each in [0, 1], oldest first, any number of them.

    Raises:
        ValueError: a loss outside [0, 1], or not one dimension.
    """
    values = np.asarray(losses, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError("losses must be one column of numbers from 0 to 1")
    head = min(-state.rows % BLOCK, len(values))
    whole = head + (len(values) - head) // BLOCK * BLOCK
    for part in (values[None, :head], values[head:whole].reshape(-1, BLOCK), values[None, whole:]):
        if part.size:
            state = _advance(state, part)
    return state


def _advance(state: DetectorState, losses: NDArray[np.float64]) -> DetectorState:
    """Losses of shape (blocks, rows): either part of one block, or whole blocks from a block's start."""
    lambdas = np.minimum(LAMBDAS, 0.95 / state.mu0)
    factors = 1.0 + lambdas * (losses[:, :, None] - state.mu0)
    starts, products, totals = _shiryaev_roberts(state, factors)
    means = (products * (starts[:-1, None] + totals)).mean(axis=2).ravel()
    walks, lowest, resets = _cusum(state, factors.reshape(-1, len(LAMBDAS)))
    rows = state.rows + len(means)
    ended = rows % BLOCK == 0
    return replace(
        state,
        rows=rows,
        start=tuple((starts[-1] if ended else starts[-2]).tolist()),
        product=ONES if ended else tuple(products[-1, -1].tolist()),
        total=ZEROS if ended else tuple(totals[-1, -1].tolist()),
        walk=tuple(walks[-1].tolist()),
        lowest=tuple(lowest[-1].tolist()),
        reset=tuple(resets[-1].tolist()),
        alarm=state.alarm or _first_alarm(state, means, walks - lowest, resets),
    )


def _shiryaev_roberts(
    state: DetectorState, factors: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """S at the blocks' starts and after the last, (blocks + 1, k); A, C after each row, (blocks, rows, k)."""
    blocks, _, kinds = factors.shape
    first = np.broadcast_to(np.array(state.product), (blocks, 1, kinds))
    products = np.multiply.accumulate(np.concatenate([first, factors], axis=1), axis=1)
    before = np.broadcast_to(np.array(state.total), (blocks, 1, kinds))
    totals = np.add.accumulate(np.concatenate([before, 1.0 / products[:, :-1]], axis=1), axis=1)
    starts = np.empty((blocks + 1, kinds))
    starts[0] = state.start
    for block in range(blocks):
        starts[block + 1] = np.minimum(products[block, -1] * (starts[block] + totals[block, -1]), CEILING)
    return starts, products[:, 1:], totals[:, 1:]


def _cusum(
    state: DetectorState, factors: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """After each row, (rows, k): the walk, its minimum so far, the row count when it last stood there."""
    walks = np.add.accumulate(np.concatenate([[state.walk], np.log(factors)]), axis=0)[1:]
    lowest = np.minimum(np.minimum.accumulate(walks, axis=0), state.lowest)
    counts = state.rows + 1 + np.arange(len(walks))[:, None]
    resets = np.maximum.accumulate(np.where(walks <= lowest, counts, np.array(state.reset)), axis=0)
    return walks, lowest, resets


def _first_alarm(
    state: DetectorState, means: NDArray[np.float64], heights: NDArray[np.float64], resets: NDArray[np.int64]
) -> Alarm | None:
    crossed = np.flatnonzero(means >= state.limit)
    if not len(crossed):
        return None
    at = int(crossed[0])
    row = state.rows + at
    return Alarm(row, float(means[at]), row + 1 - int(resets[at, heights[at].argmax()]))
