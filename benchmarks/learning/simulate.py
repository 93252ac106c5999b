"""The detector's promises on losses whose law is known: how soon it alarms after a change, how seldom without one.

Every run draws its own holdout of 1,000 rows, as a champion has it, so that the luck of the reference is part of the figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

from ml import detector
from ml.detector import DetectorState

HOLDOUT: Final = 1_000
WEEK: Final = 201_600  # labelled rows: ten in each check of 30 s
C: Final = detector.limit(WEEK)  # 403,200
CALM: Final = 0.12  # the champion's error
BEFORE: Final = 1_000  # rows before the change
PIECE: Final = 2_000  # rows drawn at once
MOST: Final = 40_000  # rows after a change until a run is given up
SMALL_C: Final = 1_000.0
CHECK_ROWS, CHECK_S, DAY_CHECKS = 20, 30.0, 2_880


@dataclass(frozen=True, slots=True)
class Figure:
    """What was simulated, how often, and what came out with its 95 % interval."""

    what: str
    runs: int
    value: str
    wanted: str
    reached: bool


def figures(runs: int) -> Iterator[Figure]:
    """Every line, one after the other; `runs` of each, but for the long ones."""
    yield delay(0.30, 200, runs)
    yield delay(0.20, 1_100, runs)
    yield two_weeks(max(runs // 5, 20))
    yield worst_case(runs)
    yield day(20)


def delay(worse: float, goal: int, runs: int) -> Figure:
    """Rows from the change to the alarm; the interval is that of the median by order statistics."""
    delays = [_delay(np.random.default_rng([1, seed]), worse) for seed in range(runs)]
    early = sum(each <= 0 for each in delays)
    ordered = np.sort([each for each in delays if each > 0])
    low, high = median_interval(ordered)
    median = float(np.median(ordered))
    value = f"median {median:,.0f} rows ({low:,.0f}–{high:,.0f}), 90 % within {np.quantile(ordered, 0.9):,.0f}; {early} early"
    what = f"delay, error {CALM:.2f} → {worse:.2f}, c = {C:,.0f}"
    return Figure(what, runs, value, f"≤ {goal:,} rows", median <= goal)


def _delay(rng: np.random.Generator, worse: float) -> int:
    state = detector.update(_begun(rng, C), _losses(rng, CALM, BEFORE))
    while state.alarm is None and state.rows < BEFORE + MOST:
        state = detector.update(state, _losses(rng, worse, PIECE))
    return state.rows - BEFORE if state.alarm is None else state.alarm.row + 1 - BEFORE


def two_weeks(runs: int) -> Figure:
    """Alarms in two weeks without drift, at the rate of labels that c was set for."""
    alarms = 0
    for seed in range(runs):
        rng = np.random.default_rng([2, seed])
        alarms += detector.update(_begun(rng, C), _losses(rng, CALM, 2 * WEEK)).alarm is not None
    low, high = share_interval(alarms, runs)
    value = f"{alarms} alarms in {runs} runs ({100 * low:.1f}–{100 * high:.1f} % of them)"
    return Figure(f"two weeks without drift, {2 * WEEK:,} rows", runs, value, "≤ 1 each", high <= 1)


def worst_case(runs: int) -> Figure:
    """Rows to a false alarm where the champion's error is exactly mu0, the worst that the bound allows; c is small here.

    The interval is of the mean, by the normal distribution.
    """
    waits = np.array([_wait(np.random.default_rng([3, seed])) for seed in range(runs)])
    error = 1.96 * waits.std(ddof=1) / runs**0.5
    value = f"mean {waits.mean():,.0f} rows ({waits.mean() - error:,.0f}–{waits.mean() + error:,.0f})"
    what = f"rows to a false alarm, error = mu0, c = {SMALL_C:,.0f}"
    return Figure(what, runs, value, f"≥ {SMALL_C:,.0f} rows", bool(waits.mean() + error >= SMALL_C))


def _wait(rng: np.random.Generator) -> int:
    state = detector.start(CALM, SMALL_C)
    while state.alarm is None:
        state = detector.update(state, _losses(rng, CALM, PIECE))
    return state.alarm.row + 1


def day(runs: int) -> Figure:
    """A day without drift: a check each 30 s with 20 labels, c as a young model's check sets it, loss and floor side by side."""
    alarmed = sum(_day(np.random.default_rng([4, seed])) for seed in range(runs))
    low, high = share_interval(alarmed, runs)
    value = f"{alarmed} of {runs} with an alarm ({100 * low:.0f}–{100 * high:.0f} %)"
    what = f"a day without drift, {DAY_CHECKS:,} checks of {CHECK_ROWS} labels"
    return Figure(what, runs, value, "0", alarmed == 0)


def _day(rng: np.random.Generator) -> bool:
    c = detector.limit(0)
    states = [_begun(rng, c)]
    floor = detector.start_floor("accuracy", 0.8, 1 - CALM, c)
    states += [floor] if floor else []
    for check in range(1, DAY_CHECKS + 1):
        c = detector.limit(detector.rows_a_week(CHECK_ROWS * check, CHECK_S * check))
        losses = _losses(rng, CALM, CHECK_ROWS)
        states = [detector.update(each.with_limit(c * (1 + n)), losses) for n, each in enumerate(states)]
    return any(each.alarm for each in states)


def _begun(rng: np.random.Generator, limit: float) -> DetectorState:
    """A detector whose reference is what a holdout happened to show."""
    found = rng.binomial(HOLDOUT, CALM) / HOLDOUT
    return detector.start(detector.reference(found, HOLDOUT).mu0, limit)


def _losses(rng: np.random.Generator, error: float, rows: int) -> NDArray[np.float64]:
    return (rng.random(rows) < error).astype(np.float64)


def share_interval(hits: int, of: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a share."""
    low = 0.0 if hits == 0 else float(beta.ppf(0.025, hits, of - hits + 1))
    high = 1.0 if hits == of else float(beta.ppf(0.975, hits + 1, of - hits))
    return low, high


def median_interval(ordered: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """A 95 % interval of the median, whatever the distribution: the order statistics that a fair coin's quantiles name."""
    low = int(binom.ppf(0.025, len(ordered), 0.5))
    return float(ordered[max(low - 1, 0)]), float(ordered[min(len(ordered) - low, len(ordered) - 1)])
