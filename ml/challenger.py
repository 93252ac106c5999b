"""Train challengers on windows of history, and promote one only if it beats the champion (steps 5 to 8).

Every challenger and the champion are scored on the same newest rows, which none of them was trained on.
The comparison starts from the largest window; a smaller one, the replay of older rows and an earlier version
win only by more than one standard error of the paired differences. The winner is then refitted with the
held-out rows, but for an earlier version, which serves as it is.

A window that lacks a class of history is learnt together with the replayed rows of that class: new rows say nothing
of a class that is not among them, and a model that does not know it is wrong on each of its rows.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline

from ml.detector import Reference, reference
from ml.estimate import temperature
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
        window: "all", "recent", "2x since", "since"; "replay" (the best of them, and a sample of older rows); "version 3".
        rows: how many newest rows of history the window has, the holdout included; of a version, those it was trained on.
        score: the problem's metric.
        mean_loss: of the metric's loss per row (`ml.metrics.gate_losses`).
        standard_error: of the paired difference from the best before it; 0 for the largest window.
    """

    window: str
    rows: int
    score: float
    mean_loss: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class Recalled:
    """An earlier version as a candidate: on how many rows it was trained, and how many newer ones it has not seen."""

    version: str
    model: Pipeline
    rows: int
    classes: tuple[Label, ...]
    unseen: int


@dataclass(frozen=True, slots=True)
class Training:
    """What one attempt came to; `model` is the winner refitted with the holdout, or None if rejected.

    `reference`, `error_scale` (the 80 % quantile of a regression's absolute errors) and `temperature` (it calibrates
    a classifier's probabilities, see `ml.estimate`) are of the model that serves from then on, on the held-out rows: the
    winner, which keeps them, or the champion that stays, for the record only: were it held to what it has come to, nobody
    would hear of it again. `gain_error` is the standard error of the paired difference of the two losses.
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
    gain_error: float | None
    candidates: tuple[Candidate, ...]
    reference: Reference
    error_scale: float | None
    temperature: float | None
    classes: tuple[Label, ...]
    seconds: float

    @property
    def is_clear(self) -> bool:
        """Whether it is better than the champion by more than one paired standard error, as a smaller window has to be."""
        if self.champion_loss is None or self.gain_error is None:
            return True
        return self.champion_loss - self.challenger_loss > self.gain_error


def train(
    problem: Problem,
    rows: Rows,
    truth: Truth,
    champion: Pipeline | None,
    rows_since_change: int | None,
    seed: int,
    reason: Reason,
    replay: NDArray[np.int64] | None = None,
    recalled: Sequence[Recalled] = (),
) -> Training:
    """One attempt: fit, compare, decide, refit.

    Args:
        rows, truth: the history, oldest first; windows are of the newest 20,000.
        champion: None before the first version.
        rows_since_change: as the detector dates it, or None if nothing changed.
        replay: places of a sample of history in `rows`; those before the best window are learnt with it, as one challenger more.
        recalled: earlier versions that may serve again.

    Raises:
        TooFewRows: fewer than 100.
        OneClass: a classification whose history has one class only.
        ValueError: the estimator cannot learn these rows, or a binary task has more classes than two.
    """
    began = time.perf_counter()
    length = min(len(truth), LARGEST_HISTORY)
    _guard(problem, truth[len(truth) - length :])
    held = _holdout(problem, truth[len(truth) - length :], rows_since_change)
    answers, newest = truth[-held:], take(rows, slice(len(truth) - held, None))
    gate = _Gate(problem.metric, answers)
    places = np.empty(0, dtype=np.int64) if replay is None else np.unique(replay)
    winner = _winner(_Trial(problem, rows, truth, held, seed), gate, rows_since_change, places, recalled)
    said = winner.said
    champion_said = None if champion is None else predict(champion, problem, newest)
    won = _wins(problem, answers, said, champion_said)
    serving = said if won or champion_said is None else champion_said
    mine = gate_losses(problem.metric, answers, said)
    other = None if champion_said is None else gate_losses(problem.metric, answers, champion_said)
    scale = _error_scale(problem, answers, serving)
    error = float(losses(problem, answers, serving, scale).mean())
    return Training(
        decision="promoted" if won else "rejected",
        reason=reason,
        model=winner.ready() if won else None,
        window=winner.window,
        rows=winner.rows,
        holdout_rows=held,
        challenger_score=score(problem.metric, answers, said),
        champion_score=None if champion_said is None else score(problem.metric, answers, champion_said),
        challenger_loss=float(mine.mean()),
        champion_loss=None if other is None else float(other.mean()),
        gain_error=None if other is None else _standard_error(other - mine),
        candidates=tuple(gate.candidates),
        reference=reference(error, held),
        error_scale=scale,
        temperature=temperature(answers, serving),
        classes=winner.classes,
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
    """At how many rows since the change to look again: twice as many, until 2,000; None after that."""
    return 2 * rows_since_change if 0 < 2 * rows_since_change <= LAST_FOLLOW_UP else None


def is_grown(rows: int, rows_at_last_attempt: int) -> bool:
    """Whether history has 1.5 times the labelled rows it had at the last attempt."""
    return rows >= GROWTH * rows_at_last_attempt


@dataclass(frozen=True, slots=True)
class _Trial:
    """Rows that challengers may learn from; the newest `held` of them are kept from them until one has won."""

    problem: Problem
    rows: Rows
    truth: Truth
    held: int
    seed: int

    def challenger(self, window: str, size: int, older: NDArray[np.int64]) -> _Challenger | None:
        """One that learns the newest `size` rows, and those at the places `older`; None if they are too few or of one class."""
        places = np.concatenate([older, np.arange(len(self.truth) - size, len(self.truth))])
        learnt = places[: -self.held]
        if len(learnt) < SMALLEST_WINDOW // 2 or not self._can_fit(learnt):
            return None
        newest = take(self.rows, slice(len(self.truth) - self.held, None))
        said = predict(self._fit(learnt), self.problem, newest)
        classes = () if self.problem.task == "regression" else tuple(np.unique(self.truth[places]).tolist())
        return _Challenger(window, size, said, classes, lambda: self._fit(places))

    def of_absent_classes(self, size: int, replay: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the replayed places whose class is not among the newest `size` rows; none of a regression."""
        if self.problem.task == "regression":
            return replay[:0]
        return replay[~np.isin(self.truth[replay], self.truth[len(self.truth) - size :])]

    def _fit(self, places: NDArray[np.int64]) -> Pipeline:
        model = build(self.problem, self.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the gate judges what it has learnt by then
            model.fit(take(self.rows, places), self.truth[places])
        return model

    def _can_fit(self, places: NDArray[np.int64]) -> bool:
        return self.problem.task == "regression" or len(np.unique(self.truth[places])) >= 2


@dataclass(frozen=True, slots=True)
class _Challenger:
    """What a challenger says of the held-out rows, and how it is made ready to serve."""

    window: str
    rows: int
    said: Prediction
    classes: tuple[Label, ...]
    ready: Callable[[], Pipeline]


class _Gate:
    """The held-out rows, and the best of those who have met them."""

    def __init__(self, metric: str, truth: Truth) -> None:
        self.best: _Challenger | None = None
        self.candidates: list[Candidate] = []
        self._metric, self._truth = metric, truth
        self._loss: NDArray[np.float64] | None = None

    def meet(self, one: _Challenger | None) -> None:
        """The first is the best so far; another takes its place only by more than one paired standard error."""
        if one is None:
            return
        loss = gate_losses(self._metric, self._truth, one.said)
        gain = np.zeros(len(loss)) if self._loss is None else self._loss - loss
        error = _standard_error(gain)
        shown = score(self._metric, self._truth, one.said)
        self.candidates.append(Candidate(one.window, one.rows, shown, float(loss.mean()), error))
        if self.best is None or gain.mean() > error:
            self.best, self._loss = one, loss


def _standard_error(differences: NDArray[np.float64]) -> float:
    return float(differences.std(ddof=1) / len(differences) ** 0.5)


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


def _holdout(problem: Problem, truth: Truth, rows_since_change: int | None) -> int:
    """A third of the rows since the change, else a quarter of all: 30 to 1,000, and never more than half.

    Nor more than half of the rows since a second class came: what is learnt has to have both.

    Raises:
        OneClass: fewer than 60 rows have come since then.
    """
    rows = len(truth)
    share = rows // 4 if rows_since_change is None else rows_since_change // 3
    held = min(max(share, SMALLEST_HOLDOUT), LARGEST_HOLDOUT, rows // 2)
    if problem.task == "regression":
        return held
    since_second = rows - int((truth != truth[0]).argmax())
    if since_second < 2 * SMALLEST_HOLDOUT:
        raise OneClass(f"only one class in the {rows - since_second:,} rows before the newest {since_second}")
    return min(held, since_second // 2)


def _winner(
    trial: _Trial, gate: _Gate, since: int | None, replay: NDArray[np.int64], recalled: Sequence[Recalled]
) -> _Challenger:
    """All challengers meet the gate: windows, the best of them with older rows replayed, earlier versions as they are."""
    length = min(len(trial.truth), LARGEST_HISTORY)
    for window, size in windows(length, since):
        gate.meet(trial.challenger(window, size, trial.of_absent_classes(size, replay)))
    if gate.best is None:
        raise OneClass(f"only one class in the {length - trial.held:,} rows before the newest {trial.held:,}")
    size = gate.best.rows
    older = replay[replay < len(trial.truth) - size]
    if len(older) >= SMALLEST_WINDOW:
        gate.meet(trial.challenger("replay", size, older))
    newest = take(trial.rows, slice(len(trial.truth) - trial.held, None))
    for each in recalled:
        if each.unseen >= trial.held:
            said = predict(each.model, trial.problem, newest)
            gate.meet(_Challenger(f"version {each.version}", each.rows, said, each.classes, partial(_same, each.model)))
    return gate.best


def _same(model: Pipeline) -> Pipeline:
    return model


def _wins(problem: Problem, truth: Truth, challenger: Prediction, champion: Prediction | None) -> bool:
    if champion is None:
        return True
    return better(problem.metric, score(problem.metric, truth, challenger), score(problem.metric, truth, champion))


def _error_scale(problem: Problem, truth: Truth, said: Prediction) -> float | None:
    return float(np.quantile(np.abs(truth - said.labels), 0.8)) if problem.task == "regression" else None
