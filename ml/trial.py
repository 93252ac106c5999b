"""A trial: whether a challenger that won the gate is better than the champion on the labelled rows that come next.

Both answer the same rows, and `ml.evidence` bets both ways on the differences of their losses: that the challenger is
better, and that it is worse. Each is proven at 1/alpha = 100: a challenger that is at no row expected to be better is
proven better with probability at most .01, one that is at no row expected to be worse is proven worse with at most
.01, however often one looks.

A proof counts once the problem's own metric, on the same rows, says so too. Where nothing is proven in 2,000 rows the
two are close to each other, and that metric decides alone, as it did at the gate, on rows that were not there to
choose the challenger by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ml import evidence
from ml.evidence import Evidence

ROWS: Final = 2_000  # labelled rows after which a trial ends, proof or not
SMALLEST: Final = 100  # labelled rows without which nobody is promoted for want of time
LIMIT: Final = 100.0  # 1/alpha, either way


@dataclass(frozen=True, slots=True)
class Standing:
    """How a trial stands: the evidence that the challenger is better, and that it is worse, of the same rows."""

    better: Evidence = field(default_factory=Evidence)
    worse: Evidence = field(default_factory=Evidence)

    @property
    def rows(self) -> int:
        """How many were compared, at most 2,000."""
        return self.better.rows

    @property
    def is_proven(self) -> bool:
        """Whether one of the two has reached its limit."""
        return self.better.proof is not None or self.worse.proof is not None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; floats survive JSON exactly."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Standing:
        """The inverse of `to_dict`, also after a journey through JSON; {} is a trial that begins."""
        return cls(**{side: Evidence.from_dict(each) for side, each in stored.items()})


def update(state: Standing, differences: NDArray[np.float64]) -> Standing:
    """The standing after these rows, oldest first; those beyond the 2,000th count no more.

    Args:
        differences: the challenger's loss minus the champion's, each in [-1, 1].

    Raises:
        ValueError: a difference outside [-1, 1], or not one dimension.
    """
    new = differences[: ROWS - state.rows]
    return Standing(evidence.update(state.better, -new, LIMIT), evidence.update(state.worse, new, LIMIT))


def verdict(state: Standing, leads: bool, overdue: bool) -> Literal["promote", "reject"] | None:
    """What the trial has come to; None while it goes on.

    Args:
        leads: whether the problem's metric is better for the challenger on the trial's rows.
        overdue: whether its time is over.
    """
    if leads and state.better.proof is not None:
        return "promote"
    if not leads and state.worse.proof is not None:
        return "reject"
    if state.rows >= ROWS or overdue:
        return "promote" if leads and state.rows >= SMALLEST else "reject"
    return None
