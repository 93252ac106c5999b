"""The detectors that a problem may name instead of e-SR: exact rows, however they are fed, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from ml import detectors
from ml.detector import reference
from ml.detectors import Watch
from tests.ml.common import problem
from tests.ml.test_detector import CHANGED, stream

KINDS = ["esr", "adwin", "threshold"]


def begun(kind: str, limit: float = 10_000) -> Watch:
    """The detector of a problem whose threshold is .8, on a champion whose loss may be .12."""
    if kind == "adwin":
        pytest.importorskip("river")
    return detectors.start(problem(detector=kind), 0.12, limit)


def fed(kind: str, losses: NDArray[np.float64], cuts: Sequence[int]) -> Watch:
    """In parts that end at these rows, through JSON between them."""
    state = begun(kind)
    for part in np.split(losses, cuts):
        state = state.after(part)
        loaded = detectors.load(problem(detector=kind), json.loads(json.dumps(state.to_dict())), 10_000)
        assert loaded == state
        state = loaded
    return state


@pytest.mark.parametrize(("kind", "row", "since"), [("esr", 3_100, 171), ("adwin", 3_135, 1_600), ("threshold", 964, 100)])
def test_a_seeded_stream_alarms_at_exactly_this_row_however_it_is_cut(kind: str, row: int, since: int) -> None:
    """The error moves from .10 to .30 at row 3,000; the plain rule has cried wolf by then."""
    whole = begun(kind).after(CHANGED)
    assert whole.alarm is not None
    assert (whole.alarm.row, whole.alarm.rows_since_change) == (row, since)
    assert whole.alarm.statistic >= whole.limit
    assert fed(kind, CHANGED, [1, 30, 99, 100, 101, 964, 965, 3_000, 3_099, 3_140, 5_999]) == whole
    assert begun(kind).after(CHANGED[: row + 1]).alarm == whole.alarm
    assert begun(kind).after(CHANGED[:row]).alarm is None


@pytest.mark.parametrize("kind", KINDS)
def test_another_detectors_state_is_not_taken_for_its_own(kind: str) -> None:
    """A problem that changes its detector begins afresh."""
    stored = begun(kind).after(CHANGED[:500]).to_dict()
    assert [detectors.load(problem(detector=other), stored, 10_000) is not None for other in KINDS] == [k == kind for k in KINDS]


def test_adwin_is_rivers_and_takes_only_a_rise_for_an_alarm() -> None:
    """Beside river's own object, row by row; a loss that falls is no alarm; what it holds stays bounded."""
    adwin = pytest.importorskip("river.drift").ADWIN(delta=0.002)
    found = next(row for row, loss in enumerate(CHANGED) if adwin.update(float(loss)) is None and adwin.drift_detected)
    alarm = begun("adwin").after(CHANGED).alarm
    assert alarm is not None
    assert alarm.row == found
    assert begun("adwin").after(stream(3, (2_000, 0.5), (2_000, 0.1))).alarm is None
    long = begun("adwin").after(stream(4, (45_000, 0.1)))
    assert len(json.dumps(long.to_dict())) < 4_000


def test_the_plain_rule_cries_wolf_where_the_default_is_silent() -> None:
    """Twenty calm streams of 20,000 rows, four points above the threshold: it alarms in all, e-SR in none."""
    calm = [stream(seed, (20_000, 0.16)) for seed in range(20)]
    assert all(begun("threshold").after(each).alarm for each in calm)
    mu0 = reference(0.16, 1_000).mu0
    assert not any(detectors.start(problem(), mu0, 10_000).after(each).alarm for each in calm)


def test_an_accuracy_at_the_threshold_is_kept() -> None:
    """Twenty errors in a hundred are .8; one more is below."""
    state = begun("threshold").after(np.repeat([1.0, 0.0], [20, 80]))
    assert state.alarm is None
    assert state.after(np.ones(1)).alarm is None  # the oldest error has left the window
    assert begun("threshold").after(np.repeat([0.0, 1.0], [79, 21])).alarm is not None


def test_the_plain_rule_is_a_floor_itself() -> None:
    """No second one beside it; the others keep theirs."""
    floors = [detectors.start_floor(problem(detector=kind), 0.9, 10_000) for kind in KINDS]
    assert [floor is not None for floor in floors] == [True, True, False]
