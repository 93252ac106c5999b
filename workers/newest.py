"""The newest labelled rows and what the champion says of them: what a check has read and judged once it scores as well."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml.metrics import score
from ml.prediction import Prediction, joined
from ml.rows import Rows, stack
from problems.declaration import Problem
from workers.history import History


@dataclass(frozen=True, slots=True)
class Newest:
    """Rows from a position on, and what was said of them.

    Attributes:
        start: the position; rows before it are left out.
        parts: oldest first, of at least one row each.
    """

    start: int
    parts: tuple[tuple[History, Prediction], ...] = ()

    def see(self, part: History, said: Prediction) -> Newest:
        """With these rows too, which are newer than all."""
        first = slice(int(np.searchsorted(part.positions, self.start)), None)
        seen = part.cut(first)
        return Newest(self.start, (*self.parts, (seen, said.cut(first)))) if len(seen) else self

    def after(self, older: History, said: Prediction) -> Newest:
        """With these rows too, which are older than all."""
        return Newest(self.start, ((older, said), *self.parts))

    def __len__(self) -> int:
        return sum(len(part) for part, _ in self.parts)

    @property
    def rows(self) -> Rows | None:
        """The inputs; None if there are none."""
        return stack([part.rows for part, _ in self.parts]) if self.parts else None

    def scores(self, problem: Problem, recent: int) -> tuple[float, float]:
        """The problem's metric over all rows, at least one, and over the last `recent`."""
        truth = np.concatenate([part.truth for part, _ in self.parts])
        said, last = joined([each for _, each in self.parts]), slice(-recent, None)
        return score(problem.metric, truth, said), score(problem.metric, truth[last], said.cut(last))
