"""A check scores the rows that it has judged, and reads again no more than the score needs of those before."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from ml.generator import generate
from problems.catalog import builtin
from problems.declaration import declared
from storage import labels
from tests.workers.conftest import House


@pytest.mark.parametrize(("first", "second"), [(300, 40), (2_500, 600), (100, 2_300)])
def test_the_shown_performance_is_of_the_newest_rows_of_this_check_and_those_before(
    house: House, monkeypatch: pytest.MonkeyPatch, first: int, second: int
) -> None:
    """Both figures are those of the answers themselves, and no label is read twice in one check."""
    rested = {"cooldown_rows": 100_000}  # what a training reads is not the check's
    house.declare(**cast(dict[str, Any], declared(builtin())) | rested)
    house.tick()
    inputs, truth = generate(first + second, 2, 0.05, "none", 0.0, 3)
    asked: list[tuple[int, int]] = []
    real = labels.between

    def between(*args: Any) -> Any:
        asked.append(args[2:4])
        return real(*args)

    said: list[Any] = []
    monkeypatch.setattr(labels, "between", between)
    for rows in (slice(first), slice(first, None)):
        job = house.predict(inputs[rows])
        house.label(job, truth[rows])
        said += [each["label"] for each in house.result(job)["predictions"]]
        asked.clear()
        house.tick()
        read = [position for start, stop in asked for position in range(start, stop)]
        assert len(read) == len(set(read))
    right = np.array(said) == truth
    shown = house.checks()[-1]
    assert shown["decision"] == "ok" and shown["labels_seen"] == second
    assert shown["performance"] == pytest.approx(right[-2_000:].mean())
    assert shown["recent_performance"] == pytest.approx(right[-200:].mean())
