"""What is kept of old tasks: scikit-learn's digits, two classes at a time (split digits), one task after the other.

After each task every task so far is tested on rows that nobody has learnt. With A[i, j] the accuracy on task j after
task i of T: ACC = mean of A[T, j]; BWT (backward transfer) = mean over j < T of A[T, j] - A[j, j], both in per cent
(Lopez-Paz and Ranzato, "Gradient episodic memory", 2017).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from benchmarks.house import house
from benchmarks.learning import streams
from benchmarks.learning.ours import Loop
from benchmarks.learning.played import Played
from benchmarks.learning.streams import Stream
from ml.estimators import build
from ml.metrics import score
from ml.prediction import Prediction, predict
from ml.rows import Rows, stack, take
from problems.declaration import Problem
from workers.history import REPLAYED

TASKS: Final = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
TESTED: Final = 0.3
CHUNK: Final = 100
Say = Callable[[Rows], Prediction]


@dataclass(frozen=True, slots=True)
class Memory:
    """One row of the table; accuracies in per cent, a matrix (task learnt, task tested)."""

    who: str
    accuracy: NDArray[np.float64]

    @property
    def acc(self) -> float:
        """Mean accuracy over all tasks at the end."""
        return float(self.accuracy[-1].mean())

    @property
    def bwt(self) -> float:
        """What learning later tasks did to earlier ones; negative is forgetting."""
        return float((self.accuracy[-1] - self.accuracy.diagonal())[:-1].mean())


def memories(scratch: Path) -> list[Memory]:
    """Newest task alone; with a reservoir of 500 rows; and our loop, which has the gate choose."""
    learnt, tested = _split(scratch)
    problem = learnt.problems[0]
    return [
        Memory("the newest task alone", _fit_each(learnt, tested, problem, 0)),
        Memory(f"the newest task, replay of {REPLAYED} rows", _fit_each(learnt, tested, problem, REPLAYED)),
        Memory("Continual ML, the gate choosing", _loop(learnt, tested, problem, scratch / "house")),
    ]


def _split(scratch: Path) -> tuple[Stream, list[Stream]]:
    """The rows to learn, task after task, and each task's test rows; shuffled within, seeded."""
    images, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(digits))
    frame = pd.DataFrame(images, columns=[f"p{n}" for n in range(images.shape[1])]).assign(target=digits)
    tasks = [frame.iloc[order[np.isin(digits[order], task)]] for task in TASKS]
    cuts = [int(len(task) * TESTED) for task in tasks]
    learnt = pd.concat([task.iloc[cut:] for task, cut in zip(tasks, cuts, strict=True)])
    tests = [
        streams.of_frame(f"task{n}", task.iloc[:cut], scratch, ["hgb"])
        for n, (task, cut) in enumerate(zip(tasks, cuts, strict=True))
    ]
    return streams.of_frame("digits", learnt, scratch, ["hgb"]), tests


def _ends(learnt: Stream) -> list[int]:
    """Where each task's rows end."""
    return [int(np.flatnonzero(np.isin(learnt.truth, task)).max()) + 1 for task in TASKS]


def _fit_each(learnt: Stream, tested: list[Stream], problem: Problem, replay: int) -> NDArray[np.float64]:
    """A model fitted to each task, with a sample of all rows before it."""
    found, begin = [], 0
    rng = np.random.default_rng(0)
    for end in _ends(learnt):
        rows, truth = learnt.part(begin, end)
        older = np.sort(rng.choice(begin, min(replay, begin), replace=False))
        if len(older):
            rows = stack([take(learnt.rows, older), rows])
            truth = np.concatenate([learnt.truth[older], truth])
        model = build(problem, 1).fit(rows, truth)
        found.append(_tested(tested, problem, partial(predict, model, problem)))
        begin = end
    return np.array(found)


def _loop(learnt: Stream, tested: list[Stream], problem: Problem, folder: Path) -> NDArray[np.float64]:
    found, begin = [], 0
    with house(folder, problem) as room:
        loop = Loop(room, problem, Played("", ""))
        for end in _ends(learnt):
            for start in range(begin, end, CHUNK):
                loop.learn(learnt, start, min(start + CHUNK, end))
            found.append(_tested(tested, problem, loop.predict))
            begin = end
    return np.array(found)


def _tested(tested: list[Stream], problem: Problem, say: Say) -> list[float]:
    return [100 * score(problem.metric, each.truth, say(each.rows)) for each in tested]
