"""What came of one way to learn from one stream."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from examples.story import Event
from ml.prediction import Prediction
from ml.rows import Truth

WARM, CHUNK = 2_000, 500  # rows before the first prediction, and from one look at labels to the next


@dataclass(slots=True)
class Played:
    """One run over a stream: every row after the warm-up is predicted before its label is known.

    Attributes:
        who: how the rule is called in the table.
        estimator: what it trains.
        scores: one for each row: 1 if right, else 0; or an absolute error.
        attempts: trainings, the first one included.
        alarms: how often labelled loss was found to be worse.
        seconds: CPU of all trainings.
        events: (rows predicted by then, what happened).
    """

    who: str
    estimator: str
    scores: list[NDArray[np.float64]] = field(default_factory=list)
    attempts: int = 0
    alarms: int = 0
    seconds: float = 0.0
    events: list[tuple[int, Event]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many were predicted."""
        return sum(map(len, self.scores))

    @property
    def mean(self) -> float:
        """Over all of them."""
        return float(np.concatenate(self.scores).mean())

    def see(self, truth: Truth, said: Prediction) -> NDArray[np.float64]:
        """Score what was said of a chunk."""
        right = np.abs(truth - said.labels) if said.probabilities is None else truth == said.labels
        self.scores.append(np.asarray(right, dtype=np.float64))
        return self.scores[-1]
