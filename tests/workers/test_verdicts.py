"""The rule from a detector's state to a decision: which of several findings counts, and when a training may start."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ml import detector
from ml.detector import DetectorState
from ml.feature_drift import FeatureDrift
from ml.generator import generate
from problems.catalog import builtin
from problems.declaration import declared
from storage import decisions
from storage.models import Model
from tests.workers.conftest import House
from tests.workers.test_loop import PLANE
from workers.verdicts import Verdict, judge, sentence

LOOP = builtin().loop
MODEL = Model(
    name="default",
    declared=declared(builtin()),
    source="declared",
    created_at=0.0,
    updated_at=0.0,
    champion="3",
    alias_pending=False,
    classes=[0, 1],
    head=5_000,
    tail=0,
    attempt_head=4_000,
    attempt_rows=4_000,
    follow_up_at=None,
    change_position=None,
    performance=0.9,
    drifting=False,
    last_check_at=None,
    last_trained_at=None,
)
BUSY = replace(MODEL, attempt_head=5_000 - LOOP.cooldown_rows + 1)
MOVED = [FeatureDrift("x1", "ks", 0.4, 0.9, 1e-9, drifted=True)]


def seen(rows: int, errors_last: int = 0, mu0: float = 0.1) -> DetectorState:
    """After so many rows, the last ones of them errors."""
    losses = np.zeros(rows)
    losses[rows - errors_last :] = 1.0
    return detector.start(mu0, 10_000.0).after(losses)


CALM, ALARMED = seen(500), seen(500, 60)


def decided(
    model: Model = MODEL,
    loss: DetectorState = CALM,
    floor: DetectorState | None = None,
    moved: bool = False,
    open_train: str | None = None,
    tried: bool = False,
) -> Verdict:
    return judge(model, LOOP, loss, floor, MOVED if moved else [], open_train, tried)


def test_an_alarm_starts_a_training_and_dates_the_change_to_its_rows() -> None:
    """Sixty errors at the end: the alarm came some rows before the last one, and the change sixty rows before the end."""
    found = decided(loss=ALARMED)
    assert ALARMED.alarm is not None and ALARMED.alarm.row < 499
    assert (found.decision, found.reason, found.rows_since_change) == ("drift", "drift", 60)
    assert (found.statistic, found.limit) == (ALARMED.alarm.statistic, 10_000.0)
    assert sentence(MODEL, found).endswith("the change began near 60 rows ago.")


def test_a_loss_above_its_reference_comes_before_a_floor_and_a_floor_before_all_else() -> None:
    assert decided(loss=ALARMED, floor=ALARMED).decision == "drift"
    due = replace(MODEL, follow_up_at=5_000, change_position=4_900)
    found = decided(due, floor=ALARMED, moved=True)
    assert (found.decision, found.reason, found.rows_since_change) == ("floor", "floor", 60)
    assert "its accuracy is below the threshold: evidence" in sentence(due, found)
    assert decided(floor=CALM).decision == "ok"


@pytest.mark.parametrize("floor", [None, ALARMED], ids=["drift", "floor"])
def test_an_alarm_waits_for_the_cool_down_for_a_training_under_way_and_for_a_trial(floor: DetectorState | None) -> None:
    """In each case it stays an alarm; only during the cool-down is it called so."""
    loss, name = (CALM, "floor") if floor else (ALARMED, "drift")
    cooling = decided(BUSY, loss, floor)
    assert (cooling.decision, cooling.reason, cooling.alarmed) == ("cooldown", None, True)
    under_way = decided(BUSY, loss, floor, open_train="a job")
    assert (under_way.decision, under_way.reason, under_way.open_train, under_way.alarmed) == (name, None, "a job", True)
    on_trial = decided(MODEL, loss, floor, tried=True)
    assert (on_trial.decision, on_trial.reason, on_trial.alarmed) == (name, None, True)
    rested = replace(BUSY, attempt_head=BUSY.attempt_head - 1)
    assert decided(rested, loss, floor).reason == name


def test_a_second_look_is_due_at_its_row_and_says_how_long_ago_the_change_was() -> None:
    due = replace(MODEL, follow_up_at=5_000, change_position=4_600)
    found = decided(due)
    assert (found.decision, found.reason, found.rows_since_change) == ("growth", "follow_up", 400)
    assert "now that 400 rows have come since it began" in sentence(due, found)
    assert decided(replace(due, follow_up_at=5_001)).reason is None
    assert decided(due, open_train="a job").reason is None
    assert decided(due, tried=True).reason is None


def test_half_as_many_rows_again_are_worth_a_training() -> None:
    """At 1.5 times the rows of the last attempt, not one before; told in rows."""
    grown = replace(MODEL, attempt_rows=3_333)
    found = decided(grown, moved=True)
    assert (found.decision, found.reason, found.rows_since_change) == ("growth", "growth", None)
    assert sentence(grown, found) == "There are 5,000 labelled rows, 1.5 times the 3,333 of the last attempt."
    assert decided(replace(grown, attempt_rows=3_334)).reason is None
    assert decided(replace(grown, attempt_head=BUSY.attempt_head)).reason is None


def test_without_an_alarm_moved_features_warn_and_few_rows_are_said_to_be_few() -> None:
    assert decided(moved=True).decision == "warning"
    assert decided(loss=seen(100)).decision == "ok"
    assert decided(loss=seen(99)).decision == "insufficient"
    assert decided(loss=seen(99), moved=True).reason is None


def test_a_champion_that_falls_below_the_threshold_is_replaced_though_its_reference_would_allow_it(house: House) -> None:
    """0.95 on its holdout and a threshold of 0.93: at 0.88 the floor raises the alarm, twice c, before the loss does."""
    house.declare("default", **PLANE | {"label": "label", "threshold": 0.93})
    house.tick()
    assert house.model().champion == "1"
    for seed in range(20):
        inputs, truth = generate(200, 2, 0.12, "none", 0.0, seed)
        house.label(house.predict(inputs), truth)
        house.tick()
        found = house.checks()[-1]
        if found["decision"] == "floor":
            break
    assert (found["decision"], found["limit"], found["train_job"] is not None) == ("floor", 20_000.0, True)
    assert found["statistic"] >= found["limit"]
    with house.db.read() as tx:
        started = next(each for each in decisions.listed(tx, "default", 10, None).entries if each.action == "train")
    assert "its accuracy is below the threshold" in started.reason
    assert ("default retrained, version 1 stays", "resolved") in house.told()
