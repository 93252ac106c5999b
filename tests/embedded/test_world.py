"""The demo's world: its rows, its rule, and how the rule turns."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from embedded.traffic import ROWS, Answer, accuracy
from embedded.world import NOISE, Rows, World


def share_of(rows: Rows, angle: float) -> float:
    """The share of rows whose label agrees with the rule that is turned by `angle` degrees."""
    radians = math.radians(45 + angle)
    agree = (
        (x1 * math.cos(radians) + x2 * math.sin(radians) > 0) == bool(label)
        for (x1, x2), label in zip(rows.instances, rows.labels, strict=True)
    )
    return sum(agree) / len(rows.labels)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "angle", chance=random.Random(7))


def test_the_rule_is_the_built_in_models_own(world: World) -> None:
    """x1 + x2 > 0 labels all rows but the flipped ones, 3 % of 10,000."""
    rows = world.draw(10_000)
    right = sum((x1 + x2 > 0) == bool(label) for (x1, x2), label in zip(rows.instances, rows.labels, strict=True))
    assert right / 10_000 == pytest.approx(1 - NOISE, abs=0.01)


def test_a_drift_of_strength_08_turns_it_by_72_degrees(world: World) -> None:
    """The old rule is then right for 1 - 72/180 = 60 % of what is not flipped; the new one for 97 %."""
    world.turn(0.8)
    rows = world.draw(10_000)
    assert share_of(rows, angle=72) == pytest.approx(0.97, abs=0.01)
    assert share_of(rows, angle=0) == pytest.approx(0.6 * 0.97 + 0.4 * 0.03, abs=0.015)


def test_a_second_demo_goes_on_in_the_turned_world(world: World) -> None:
    """The angle is remembered, as the models that learned it are."""
    world.turn(0.8)
    world.turn(0.5)
    assert World(world.memory).angle == pytest.approx(117.0)


def test_accuracy_counts_the_rows_of_answered_requests() -> None:
    """A failed request counts neither as right nor as wrong: it is told apart."""
    answers = [Answer(0.0, "1", ROWS), Answer(1.0, "1", 0), Answer(2.0, None, 0, failure="503")]
    assert accuracy(answers) == 0.5
    assert math.isnan(accuracy(answers[2:]))
