"""The detector: exact, the same however it is fed, quick to see a change and slow to cry wolf."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.detector import (
    LAMBDAS,
    Alarm,
    DetectorState,
    limit,
    reference,
    rows_a_week,
    rows_since_change,
    start,
    start_floor,
    statistic,
    update,
)


def stream(seed: int, *parts: tuple[int, float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """0/1 losses: (rows, error rate) one after the other."""
    rng = np.random.default_rng(seed)
    return np.concatenate([(rng.random(rows) < rate).astype(np.float64) for rows, rate in parts])


CHANGED = stream(7, (3000, 0.1), (3000, 0.3))


def by_the_book(losses: list[float], mu0: float, c: float) -> tuple[float, Alarm | None]:
    """The rule as it is written: one row after the other, in plain Python."""
    s, w, since, alarm = [0.0] * 5, [0.0] * 5, [0] * 5, None
    for row, loss in enumerate(losses):
        for k, each in enumerate(LAMBDAS):
            factor = 1 + min(each, 0.95 / mu0) * (loss - mu0)
            s[k] = (s[k] + 1) * factor
            w[k] = max(0.0, w[k] + math.log(factor))
            since[k] = since[k] + 1 if w[k] > 0 else 0
        if alarm is None and sum(s) / 5 >= c:
            alarm = Alarm(row, sum(s) / 5, since[w.index(max(w))])
    return sum(s) / 5, alarm


def test_it_is_the_rule_as_written() -> None:
    """The alarm's row and the rows since the change are those of the plain recurrences; the statistic to 1e-9."""
    expected, alarm = by_the_book(CHANGED.tolist(), 0.12, 10_000)
    state = update(start(0.12, 10_000), CHANGED)
    assert alarm is not None
    assert state.alarm is not None
    assert (state.alarm.row, state.alarm.rows_since_change) == (alarm.row, alarm.rows_since_change)
    assert state.alarm.statistic == pytest.approx(alarm.statistic, rel=1e-9)
    assert statistic(update(start(0.12, 10_000), CHANGED[:3100])) == pytest.approx(
        by_the_book(CHANGED[:3100].tolist(), 0.12, 10_000)[0], rel=1e-9
    )
    assert expected > 10_000


def test_a_seeded_stream_alarms_at_exactly_this_row() -> None:
    """The error moves from .10 to .30 at row 3,000."""
    state = update(start(0.12, 10_000), CHANGED)
    assert state.alarm is not None
    assert (state.alarm.row, state.alarm.rows_since_change) == (3_100, 171)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 900), min_size=1, max_size=40), st.integers(0, 5))
def test_the_state_is_the_same_to_the_last_bit_however_the_rows_are_cut(cuts: list[int], seed: int) -> None:
    """Any chunks, also through JSON between them, give the state of one single update."""
    losses = stream(seed, (1500, 0.1), (1500, 0.4))
    state, at = start(0.13, 10_000), 0
    for cut in [*cuts, len(losses)]:
        state = update(state, losses[at : at + cut])
        state = DetectorState.from_dict(json.loads(json.dumps(state.to_dict())))
        at += cut
    assert state == update(start(0.13, 10_000), losses)


def test_one_row_at_a_time_is_the_same_too() -> None:
    """Also the alarm, which is looked for after every row."""
    state = start(0.12, 500)
    for loss in CHANGED[:3400]:
        state = update(state, [loss])
    assert state == update(start(0.12, 500), CHANGED[:3400])
    assert state.alarm is not None


def test_nothing_is_an_update_too() -> None:
    """A check without labels changes nothing."""
    assert update(start(0.1, 10_000), []) == start(0.1, 10_000)


def test_the_first_alarm_stays() -> None:
    """Rows after it are processed, the alarm is not moved."""
    early, late = (update(start(0.12, 10_000), CHANGED[:rows]) for rows in (4000, 6000))
    assert early.alarm == late.alarm is not None
    assert late.rows == 6000


def test_a_calm_stream_raises_no_alarm_and_a_champion_wrong_for_weeks_no_overflow() -> None:
    """Half a million rows a week, two points below mu0: silence. Ten thousand errors in a row: still finite."""
    assert update(start(0.12, limit(500_000)), stream(1, (500_000, 0.10))).alarm is None
    wrong = update(start(0.02, limit(0)), np.ones(10_000))
    assert wrong.alarm is not None
    assert wrong.alarm.row < 20
    assert math.isfinite(statistic(wrong))
    assert json.loads(json.dumps(wrong.to_dict()))["rows"] == 10_000


def test_a_day_without_drift_raises_no_alarm_in_twenty_runs() -> None:
    """2,880 checks of 20 labels, at the limit of their rate; each run with the reference that its own holdout showed."""
    for seed in range(20):
        held = stream(100 + seed, (1_000, 0.12))
        calm = start(reference(float(held.mean()), 1_000).mu0, limit(rows_a_week(2_400, 3_600.0)))
        assert update(calm, stream(200 + seed, (2_880 * 20, 0.12))).alarm is None


@pytest.mark.parametrize(
    ("seed", "before", "after", "row", "since"),
    [(1, 0.05, 0.5, 2_025, 26), (2, 0.12, 0.2, 2_330, 193), (3, 0.3, 0.45, 2_105, 68)],
)
def test_seeded_streams_alarm_at_exactly_these_rows(seed: int, before: float, after: float, row: int, since: int) -> None:
    """The error rises at row 2,000; the reference is of 1,000 rows, and c is 10,000."""
    state = update(start(reference(before, 1_000).mu0, limit(0)), stream(seed, (2_000, before), (4_000, after)))
    assert state.alarm is not None
    assert (state.alarm.row, state.alarm.rows_since_change) == (row, since)


@pytest.mark.parametrize(("worse", "rows"), [(0.30, 200), (0.20, 1_100)])
def test_a_change_is_seen_in_time(worse: float, rows: int) -> None:
    """Error .12 on a 1,000-row holdout, c = 403,200: the median delay of 40 seeded streams."""
    mu0, delays = reference(0.12, 1_000).mu0, []
    for seed in range(40):
        state = update(start(mu0, limit(201_600)), stream(seed, (1_000, 0.12), (5_000, worse)))
        assert state.alarm is not None
        delays.append(state.alarm.row - 999)
    assert 0 < np.median(delays) <= rows


def test_the_change_point_is_found() -> None:
    """At the alarm the rows since the change reach back to where the errors began, give or take."""
    state = update(start(0.12, 10_000), CHANGED)
    assert state.alarm is not None
    assert abs(state.alarm.row + 1 - state.alarm.rows_since_change - 3_000) < 100
    assert rows_since_change(update(state, [0.0])) > state.alarm.rows_since_change


def test_the_reference_leaves_room_for_what_a_holdout_cannot_know() -> None:
    """.02, or three standard errors; the fewer rows the more, also where no error was seen; never above 1."""
    assert reference(0.01, 100_000).mu0 == pytest.approx(0.03)
    assert reference(0.12, 1_000).mu0 == pytest.approx(0.12 + 3 * (0.12 * 0.88 / 1_000) ** 0.5, abs=2e-4)
    assert 0.08 < reference(0.0, 30).mu0 < 0.12
    assert reference(1.0, 30).mu0 == 1.0


def test_the_limit_is_one_false_alarm_in_two_weeks() -> None:
    """At least 10,000 rows; twice a week's, at the rate of an hour or more."""
    assert (limit(0), limit(201_600)) == (10_000, 403_200)
    assert rows_a_week(1_200, 3_600.0) == 201_600
    assert rows_a_week(1_200, 3_599.0) == 1_200


def test_the_floor_is_armed_only_above_the_threshold_and_for_accuracy() -> None:
    """mu0 = 1 - threshold, c doubled; a champion below it, or another metric, has none."""
    floor = start_floor("accuracy", 0.8, 0.85, 10_000)
    assert floor is not None
    assert floor.mu0 == pytest.approx(0.2)
    assert floor.limit == 20_000
    assert start_floor("accuracy", 0.8, 0.79, 10_000) is None
    assert start_floor("roc_auc", 0.8, 0.9, 10_000) is None
    spotless = start_floor("accuracy", 1.0, 1.0, 10_000)
    assert spotless is not None
    assert update(spotless, np.zeros(200_000)).alarm is None


@pytest.mark.parametrize("losses", [[1.5], [-0.1], [math.nan], [[0.0]]])
def test_a_loss_is_one_number_from_0_to_1(losses: list[float]) -> None:
    """Others would break the bound on false alarms."""
    with pytest.raises(ValueError, match="from 0 to 1"):
        update(start(0.1, 10_000), losses)


def test_a_hundred_thousand_rows_take_little_time() -> None:
    """Well below a second on any machine (37 ms where it was written)."""
    began = time.process_time()
    update(start(0.12, 10_000), stream(1, (100_000, 0.1)))
    assert time.process_time() - began < 0.5
