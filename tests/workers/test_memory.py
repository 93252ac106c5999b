"""What a training may fall back on beside its windows: a sample of all of history, and earlier versions."""

from __future__ import annotations

import numpy as np
import pytest

from ml.generator import generate
from problems.catalog import builtin
from storage import decisions, versions
from tests.workers.conftest import House
from tests.workers.test_loop import PLANE, feed
from workers import history
from workers.reproduce import run

FEATURES = {"a": "number", "b": "number"}


@pytest.fixture
def served(house: House) -> House:
    """A house whose built-in model has its first version, of 1,000 rows."""
    house.tick()
    return house


def test_the_sample_is_of_all_of_history_the_same_for_the_same_seed(served: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """With windows of at most 300 rows: older rows before them, each row's own features and label, uniform over all."""
    inputs, truth = generate(700, 2, 0.05, "none", 0.0, 4)
    served.label(served.predict(inputs), truth)
    monkeypatch.setattr(history, "LARGEST_HISTORY", 300)
    with served.db.read() as tx:
        whole = history.between(served.room, tx, builtin(), 0, 1_700)
        one, again, other = (history.learnable(served.room, tx, builtin(), 0, 1_700, seed) for seed in (1, 1, 2))
    assert whole is not None and one is not None and again is not None and other is not None
    positions = one.past.positions
    assert (len(one.replay), len(one.past)) == (500, one.older + 300)
    assert (np.diff(positions) > 0).all()
    np.testing.assert_array_equal(one.past.rows, np.asarray(whole.rows)[positions])
    np.testing.assert_array_equal(one.past.truth, whole.truth[positions])
    np.testing.assert_array_equal(positions[one.replay], again.past.positions[again.replay])
    assert set(positions[one.replay]) != set(other.past.positions[other.replay])
    assert 60 < (one.replay >= one.older).sum() < 120  # 88 of 500 are expected among the newest 300 of 1,700


def test_a_concept_that_comes_back_is_answered_by_its_old_version_where_recall_is_on(house: House) -> None:
    """The version that knew it serves again as a new one, same file; from the record it is recalled to the same bytes."""
    house.declare("default", **PLANE | {"label": "label"}, recall=True)
    house.post("generate", payload=b'{"samples":1000,"features":2,"noise":0.05,"drift":"none","strength":0.0,"seed":7}')
    house.settle()
    for seed in range(2):
        feed(house, 150, "concept", seed)
        house.tick()
    assert house.model().champion == "3"  # its predecessor, 2, knows no more of the old concept than it
    feed(house, 120, "none", 30)
    house.tick()
    with house.db.read() as tx:
        last = decisions.newest(tx, "default")
        first, now = (versions.get(tx, "default", name) for name in ("1", str(house.model().champion)))
    assert last is not None and first is not None and now is not None
    assert last.evidence["data"]["window"] == "version 1"
    assert (now.sketch, now.metrics["rows"]) == (first.sketch, 1_000)
    assert run(house.room, last.id).faults == []


def test_versions_are_no_candidates_unless_a_problem_says_so(served: House) -> None:
    """Off by default: no gate has seen one."""
    for seed in range(2):
        feed(served, 200, "concept", seed)
        served.tick()
    with served.db.read() as tx:
        found = decisions.listed(tx, "default", 100, None).entries
    windows = [each["window"] for decision in found for each in decision.evidence.get("candidates", [])]
    assert windows
    assert not [window for window in windows if window.startswith("version")]


@pytest.mark.parametrize(
    ("task", "estimator", "odd"),
    [
        ("binary", "linear_model.LogisticRegression", "1.79e308,1,1"),
        ("binary", "ensemble.RandomForestClassifier", "1,-1e39,0"),
        ("regression", "linear_model.LinearRegression", "1,1,1e300"),
    ],
    ids=["a scaler's squares", "a tree's float32", "a label"],
)
def test_a_row_that_no_estimator_can_learn_fails_no_training(house: House, task: str, estimator: str, odd: str) -> None:
    """A sensor's word for "no value", say: it is left out, the record says so, and gives the same bytes again."""
    declared = {"task": task, "label": "y", "metric": "mae" if task == "regression" else "accuracy", "threshold": 0.5}
    house.declare("m", **declared, estimator=f"sklearn.{estimator}", scale="Forest" not in estimator, features=FEATURES)
    rows, truth = generate(300, 2, 0.05, "none", 0.0, 3)
    lines = [f"{a!r},{b!r},{y}" for (a, b), y in zip(rows.tolist(), truth.tolist(), strict=True)]
    sent = house.ingest("\n".join(["a,b,y", *lines[:150], odd, *lines[150:]]), "m")
    warnings = {each["kind"]: each for each in house.result(sent.id)["report"]["warnings"]}
    assert (warnings["too_large"]["count"], warnings["too_large"]["examples"][0]["row"]) == (1, 150)
    with house.db.read() as tx:
        made = decisions.newest(tx, "m")
    assert made is not None and (made.action, house.model("m").rows) == ("promote", 301)
    assert [made.evidence["data"][key] for key in ("rows", "labels", "left_out")] == [300, 0, 1]
    assert run(house.room, made.id).faults == []
