"""Train challengers on windows of history, and promote one only if it beats the champion (steps 5 to 8).

Every challenger and the champion are scored on the same newest rows, which none of them was trained on.
The comparison starts from the largest window; a smaller one wins only by more than one standard error of
the paired differences. The winner is then refitted with the held-out rows.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline

from ml.detector import Reference, reference
from ml.estimators import build
from ml.metrics import better, gate_losses, losses, score
from ml.prediction import Prediction, predict
from ml.rows import Rows, Truth, take
from problems.declaration import Problem
from problems.labels import Label

SMALLEST_HISTORY: Final = 100
SMALLEST_WINDOW: Final = 30
LARGEST_HISTORY: Final = 20_000
RECENT: Final = 2_000
GROWTH: Final = 1.5
LAST_FOLLOW_UP: Final = 2_000
SMALLEST_HOLDOUT: Final = 30
LARGEST_HOLDOUT: Final = 1_000

Reason = Literal["first", "drift", "floor", "growth", "follow_up"]


class TooFewRows(ValueError):
    """Not enough labelled rows to train on."""


class OneClass(ValueError):
    """All labels are the same: there is nothing to tell apart."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One window's challenger on the holdout.

    Attributes:
        window: "all", "recent", "2x since", "since".
        rows: how many newest rows of history the window has, the holdout included.
        score: the problem's metric.
        mean_loss: of the metric's loss per row (`ml.metrics.gate_losses`).
        standard_error: of the paired difference from the best larger window; 0 for the largest.
    """

    window: str
    rows: int
    score: float
    mean_loss: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class Training:
    """What one attempt came to; `model` is the winner refitted with the holdout, or None if rejected.

    `reference` and `error_scale` (the 80 % quantile of a regression's absolute errors) are of the model that
    serves from then on, for the detector that starts afresh: the winner, or the champion that stays, even if
    it was alarmed over, because nothing better can be learnt yet.
    """

    decision: Literal["promoted", "rejected"]
    reason: Reason
    model: Pipeline | None
    window: str
    rows: int
    holdout_rows: int
    challenger_score: float
    champion_score: float | None
    challenger_loss: float
    champion_loss: float | None
    candidates: tuple[Candidate, ...]
    reference: Reference
    error_scale: float | None
    classes: tuple[Label, ...]
    seconds: float


def train(
    problem: Problem,
    rows: Rows,
    truth: Truth,
    champion: Pipeline | None,
    rows_since_change: int | None,
    seed: int,
    reason: Reason,
) -> Training:
    """One attempt: fit, compare, decide, refit.

    Args:
        rows, truth: the history, oldest first; of more than 20,000 the newest count.
        champion: None before the first version.
        rows_since_change: as the detector dates it, or None if nothing changed.

    Raises:
        TooFewRows: fewer than 100.
        OneClass: a classification whose history has one class only.
        ValueError: the estimator cannot learn these rows, or a binary task has more classes than two.
    """
    began = time.perf_counter()
    first = max(0, len(truth) - LARGEST_HISTORY)
    rows, truth = take(rows, slice(first, None)), truth[first:]
    _guard(problem, truth)
    held = _holdout(len(truth), rows_since_change)
    trial = _Trial(problem, take(rows, slice(0, len(truth) - held)), truth[:-held], seed)
    newest, answers = take(rows, slice(len(truth) - held, None)), truth[-held:]
    window, said, candidates = _best(trial, windows(len(truth), rows_since_change), newest, answers)
    champion_said = None if champion is None else predict(champion, problem, newest)
    won = _wins(problem, answers, said, champion_said)
    serving = said if won or champion_said is None else champion_said
    scale = _error_scale(problem, answers, serving)
    error = float(losses(problem, answers, serving, scale).mean())
    whole = _Trial(problem, rows, truth, seed)
    model = whole.fit(window[1]) if won else None
    return Training(
        decision="promoted" if won else "rejected",
        reason=reason,
        model=model,
        window=window[0],
        rows=window[1],
        holdout_rows=held,
        challenger_score=score(problem.metric, answers, said),
        champion_score=None if champion_said is None else score(problem.metric, answers, champion_said),
        challenger_loss=float(gate_losses(problem.metric, answers, said).mean()),
        champion_loss=None if champion_said is None else float(gate_losses(problem.metric, answers, champion_said).mean()),
        candidates=candidates,
        reference=reference(error, held),
        error_scale=scale,
        classes=() if problem.task == "regression" else tuple(np.unique(truth[len(truth) - window[1] :]).tolist()),
        seconds=time.perf_counter() - began,
    )


def windows(rows: int, rows_since_change: int | None) -> list[tuple[str, int]]:
    """Windows of a history of this many rows as (name, newest rows), from the largest to the smallest."""
    since = rows_since_change or 0
    asked = [("all", rows), ("recent", RECENT), ("2x since", 2 * since), ("since", since)]
    sizes: dict[int, str] = {}
    for name, size in asked:
        if SMALLEST_WINDOW < size <= rows:
            sizes.setdefault(size, name)
    return sorted(((name, size) for size, name in sizes.items()), key=lambda window: -window[1])


def next_follow_up(rows_since_change: int) -> int | None:
    """At how many rows since the change to try again: twice as many, until 2,000; None after that."""
    return 2 * rows_since_change if 0 < 2 * rows_since_change <= LAST_FOLLOW_UP else None


def is_grown(rows: int, rows_at_last_attempt: int) -> bool:
    """Whether history has 1.5 times the labelled rows it had at the last attempt."""
    return rows >= GROWTH * rows_at_last_attempt


@dataclass(frozen=True, slots=True)
class _Trial:
    """Rows that challengers may learn from."""

    problem: Problem
    rows: Rows
    truth: Truth
    seed: int

    def fit(self, size: int) -> Pipeline:
        """A model of the newest `size` rows, or of all if there are fewer."""
        first = max(0, len(self.truth) - size)
        model = build(self.problem, self.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the gate judges what it has learnt by then
            model.fit(take(self.rows, slice(first, None)), self.truth[first:])
        return model

    def can_fit(self, size: int) -> bool:
        part = self.truth[max(0, len(self.truth) - size) :]
        return size >= SMALLEST_WINDOW // 2 and (self.problem.task == "regression" or len(np.unique(part)) >= 2)


def _guard(problem: Problem, truth: Truth) -> None:
    if len(truth) < SMALLEST_HISTORY:
        raise TooFewRows(f"only {len(truth):,} labelled rows, expected at least {SMALLEST_HISTORY}")
    if problem.task == "regression":
        return
    classes = len(np.unique(truth))
    if classes < 2:
        raise OneClass(f"only one class in {len(truth):,} rows")
    if problem.task == "binary" and classes > 2:
        raise ValueError(f"{classes} classes in the labels of a binary task")


def _holdout(rows: int, rows_since_change: int | None) -> int:
    """A third of the rows since the change, else a quarter of all: 30 to 1,000, and never more than half."""
    share = rows // 4 if rows_since_change is None else rows_since_change // 3
    return min(max(share, SMALLEST_HOLDOUT), LARGEST_HOLDOUT, rows // 2)


def _best(
    trial: _Trial, asked: list[tuple[str, int]], rows: Rows, truth: Truth
) -> tuple[tuple[str, int], Prediction, tuple[Candidate, ...]]:
    """The window to keep, what its challenger said of the held-out rows, and every candidate."""
    held, metric = len(truth), trial.problem.metric
    best: tuple[tuple[str, int], Prediction, NDArray[np.float64]] | None = None
    candidates: list[Candidate] = []
    for window in asked:
        if not trial.can_fit(window[1] - held):
            continue
        said = predict(trial.fit(window[1] - held), trial.problem, rows)
        loss = gate_losses(metric, truth, said)
        gain = np.zeros(held) if best is None else best[2] - loss
        error = float(gain.std(ddof=1) / held**0.5)
        candidates.append(Candidate(*window, score(metric, truth, said), float(loss.mean()), error))
        if best is None or gain.mean() > error:
            best = window, said, loss
    if best is None:
        raise OneClass(f"only one class in the {len(trial.truth):,} rows before the newest {held:,}")
    return best[0], best[1], tuple(candidates)


def _wins(problem: Problem, truth: Truth, challenger: Prediction, champion: Prediction | None) -> bool:
    if champion is None:
        return True
    return better(problem.metric, score(problem.metric, truth, challenger), score(problem.metric, truth, champion))


def _error_scale(problem: Problem, truth: Truth, said: Prediction) -> float | None:
    return float(np.quantile(np.abs(truth - said.labels), 0.8)) if problem.task == "regression" else None
