"""The plain rule, for those who insist: alarm when the accuracy on the newest 100 labelled rows is below the threshold.

It has no memory, no null hypothesis and no bound on false alarms: a champion at the threshold alarms in every
second window, and one above it at a rate that nobody has set (docs/learning.md has what that costs).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from ml.detector import Alarm

WINDOW: Final = 100


@dataclass(frozen=True, slots=True)
class ThresholdState:
    """All that the rule remembers.

    Attributes:
        mu0, limit: the mean loss that is still kept, 1 - threshold.
        rows: how many were processed.
        newest: losses of the newest 100 rows, oldest first.
        alarm: the first one; it stays.
    """

    mu0: float
    limit: float
    rows: int = 0
    newest: tuple[float, ...] = ()
    alarm: Alarm | None = None

    @property
    def evidence(self) -> float:
        """The mean loss on the newest rows; 0 below 100 rows."""
        return float(np.mean(self.newest)) if len(self.newest) == WINDOW else 0.0

    @property
    def why(self) -> str:
        """What an alarm says, in words."""
        shown = self.alarm.statistic if self.alarm else self.evidence
        return f"its error on {WINDOW} labelled rows is {shown:.2f}, above {self.limit:.2f}"

    def after(self, losses: ArrayLike) -> ThresholdState:
        """The state after these losses, each 0 or 1, oldest first."""
        values = np.concatenate([self.newest, np.asarray(losses, dtype=np.float64)])
        sums = np.convolve(values, np.ones(WINDOW), "valid") if len(values) >= WINDOW else np.empty(0)
        rows = self.rows + len(values) - len(self.newest)
        first_row = rows - len(sums)  # at which the first whole window ends
        crossed = np.flatnonzero(sums > round(self.limit * WINDOW, 6))  # 1 - .8 is a little less than .2
        alarm = self.alarm
        if alarm is None and len(crossed):
            alarm = Alarm(first_row + int(crossed[0]), float(sums[crossed[0]] / WINDOW), WINDOW)
        return replace(self, rows=rows, newest=tuple(values[-WINDOW:].tolist()), alarm=alarm)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"kind": "threshold", **asdict(self)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ThresholdState:
        """The inverse of `to_dict`, also after a journey through JSON."""
        alarm = Alarm(**stored["alarm"]) if stored["alarm"] else None
        return cls(stored["mu0"], stored["limit"], stored["rows"], tuple(stored["newest"]), alarm)
