"""The loop, from an empty ledger to a rejected and a promoted challenger, with a clock that tests own."""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.challenger import train
from ml.estimate import CONDITION
from ml.generator import Drift, generate
from problems.rows import PackedRows
from storage import champions, decisions, incidents, jobs, labels, ledger, models, versions
from tests.workers.conftest import House
from workers import tasks, tick

PLANE = {
    "task": "binary",
    "label": "target",
    "metric": "accuracy",
    "threshold": 0.7,
    "estimator": "sklearn.linear_model.LogisticRegression",
    "features": {"x1": "number", "x2": "number"},
}


def feed(house: House, rows: int, drift: Drift, seed: int, strength: float = 1.0) -> None:
    """Predict rows and send their labels back."""
    inputs, truth = generate(rows, 2, 0.05, drift, strength, seed)
    house.label(house.predict(inputs), truth)


@pytest.fixture
def served(house: House) -> House:
    """A house whose built-in model has its first version."""
    house.tick()
    assert house.model().champion == "1"
    return house


def test_an_empty_stack_has_a_champion_after_one_tick_with_no_one_touching_it(house: House) -> None:
    house.tick()
    model = house.model()
    assert (model.champion, model.rows) == ("1", 1000)
    assert model.performance is not None
    assert model.performance > 0.85
    assert house.decisions() == ["train", "promote"]
    assert [check["decision"] for check in house.checks()] == ["insufficient", "first"]
    assert ("default has its first version", "resolved") in house.told()
    with house.db.read() as tx:
        told = incidents.listed(tx, 10, None).entries[0]
        promoted = decisions.newest(tx, "default")
    assert promoted is not None and re.fullmatch(
        r"Version 1 promoted: accuracy 0\.\d+ on 250 .* \(all, 1,000 rows\)\.", promoted.reason
    )
    assert (told.kind, len(told.lines)) == ("success", 1) and " trained by itself: version 1, accuracy 0." in told.lines[0]


def test_a_quiet_week_of_ticks_trains_nothing_and_tells_once_a_day(served: House) -> None:
    inputs, truth = generate(700, 2, 0.05, "none", 0.0, 9)
    for day in range(7):
        part = slice(100 * day, 100 * (day + 1))
        served.label(served.predict(inputs[part]), truth[part])
        for _ in range(8):
            served.tick(3 * 3600)
    decided = {check["decision"] for check in served.checks()[2:]}
    assert decided <= {"ok", "insufficient", "growth"}
    assert len([job for job in served.trainings() if json.loads(job.payload or b"{}").get("reason") == "drift"]) == 0
    assert 6 <= len([title for title, _ in served.told() if title == "Performance of default"]) <= 8


def test_a_second_look_knows_where_the_drift_began_though_calm_checks_lie_between(served: House) -> None:
    """It learns from the rows since then: a check that finds nothing new does not forget what is to be looked at again."""
    feed(served, 400, "concept", 1)
    served.tick()
    found = served.model()
    assert (found.champion, found.follow_up_at is not None) == ("2", True)
    calm = 0
    while served.model().follow_up_at == found.follow_up_at:
        feed(served, 40, "concept", 100 + calm)
        served.tick()
        calm += 1
    assert calm > 2
    with served.room.db.read() as tx:
        looked = next(
            each for each in decisions.listed(tx, "default", 10, None).entries if each.evidence.get("reason") == "follow_up"
        )
    assert found.change_position is not None
    assert looked.evidence["data"]["since"] == served.model().head - found.change_position
    assert "since" in {each["window"] for each in looked.evidence["candidates"]}


@pytest.mark.parametrize(("gain_error", "again"), [(1.0, False), (0.0, True)])
def test_a_further_look_that_did_not_pay_is_the_last(
    served: House, monkeypatch: pytest.MonkeyPatch, gain_error: float, again: bool
) -> None:
    """Promoted all the same; but only a gain of more than one standard error is worth another look."""
    monkeypatch.setattr("workers.train.train", lambda *asked: replace(train(*asked), gain_error=gain_error))
    feed(served, 300, "concept", 1)
    asked = {"reason": "follow_up", "change_position": 1_000, "from_version": "1", "seed": 1}
    served.post("train", payload=json.dumps(asked).encode())
    served.settle()
    assert (served.model().champion, served.model().follow_up_at) == ("2", 1_600 if again else None)


def test_a_week_in_which_the_concept_turns_and_every_label_is_a_day_and_a_half_late(served: House) -> None:
    """A tick in two hours: found when the labels are there and mended, with cool-downs, one incident and a digest a day."""
    late: deque[tuple[int, str, NDArray[np.int64]]] = deque()
    found_at, ever = None, 0
    for hour in range(0, 7 * 24, 2):
        if hour % 6 == 0:
            inputs, truth = generate(120, 2, 0.05, "none" if hour < 72 else "concept", 1.0, hour)
            late.append((hour + 36, served.predict(inputs), truth))
        while late and late[0][0] <= hour:
            _, job_id, truth = late.popleft()
            served.label(job_id, truth)
            ever += len(truth)
        served.tick(7200)
        if found_at is None and any(check["decision"] in ("drift", "floor") for check in served.checks()):
            found_at = hour
    assert found_at is not None and 72 + 36 <= found_at <= 72 + 36 + 18
    model = served.model()
    assert model.champion not in (None, "1") and model.performance is not None and model.performance > 0.85
    assert len(served.trainings()) - 1 <= ever / 100
    titles = [title for title, _ in served.told()]
    assert titles.count("Drift in default, fixed by itself") == 1
    assert 5 <= titles.count("Performance of default") <= 8


def test_a_turned_concept_is_found_mended_and_told_as_one_incident(served: House) -> None:
    for seed in range(6):
        feed(served, 200, "concept", seed)
        served.tick()
    model = served.model()
    assert model.champion not in (None, "1")
    assert model.performance is not None
    assert model.performance > 0.85
    found = [check for check in served.checks() if check["decision"] == "drift"]
    assert found
    assert found[0]["statistic"] >= found[0]["limit"]
    assert found[0]["train_job"]
    assert 0 < found[0]["rows_since_change"] <= 400
    assert ("Drift in default, fixed by itself", "resolved") in served.told()
    assert "Drift in default, retraining" not in [title for title, _ in served.told()]


def test_the_alarm_falls_on_the_same_row_however_the_labels_are_cut(tmp_path_factory: pytest.TempPathFactory) -> None:
    alarms = []
    for size in (1, 50, 400):
        house = House(tmp_path_factory.mktemp("cut"))
        house.declare()
        house.tick()
        inputs, truth = generate(400, 2, 0.05, "concept", 1.0, 3)
        job = house.predict(inputs)
        for start in range(0, 400, size):
            served = house.model().champion
            if served != "1":
                break
            given = [((job, row), json.dumps(int(truth[row]))) for row in range(start, min(start + size, 400))]
            with house.db.begin() as tx:
                labels.store(tx, "default", given, house.clock)
            if start % 50 == 0 or size > 1:
                house.tick()
        found = next(check for check in house.checks() if check["decision"] in ("drift", "cooldown"))
        alarms.append(found["statistic"])
        house.room.close()
    assert len(set(alarms)) == 1


def test_the_limit_of_a_young_model_follows_the_rate_of_its_labels_from_an_hour_on(served: House) -> None:
    """400 labels in an hour are 67,200 a week; before the hour is over nobody knows a rate."""
    feed(served, 200, "none", 1)
    served.tick(60)
    feed(served, 200, "none", 2)
    served.tick(3_600)
    early, late = (check["limit"] for check in served.checks()[-2:])
    assert early == 10_000
    assert late == pytest.approx(2 * 400 * 7 * 24, rel=0.03)


def test_moved_inputs_warn_once_and_train_nothing(served: House) -> None:
    for seed in range(3):
        inputs, _ = generate(600, 2, 0.0, "covariate", 1.0, seed)
        served.predict(inputs)
        served.tick()
    assert served.model().champion == "1"
    assert [check["decision"] for check in served.checks()][-1] == "warning"
    assert [title for title, _ in served.told()].count("Inputs of default have moved") == 1
    estimate = served.checks()[-1]["estimate"]
    assert (estimate["metric"], estimate["rows"], estimate["condition"]) == ("accuracy", 1_000, CONDITION)
    assert 0.7 < estimate["value"] < 1
    with served.db.read() as tx:
        (told,) = [each for each in incidents.listed(tx, 1000, None).entries if "have moved" in each.title]
    assert CONDITION in told.lines[-1]


def test_labels_from_before_a_rollback_start_no_training(served: House) -> None:
    for seed in range(6):
        feed(served, 200, "concept", seed)
        served.tick()
    now_serving = served.model().champion
    with served.db.begin() as tx:
        decision = champions.roll_back(tx, "default", "ada", served.clock())
    before = len(served.trainings())
    served.tick()
    assert decision.from_version == now_serving
    assert served.model().champion == decision.version
    assert len(served.trainings()) == before


def test_a_challenger_that_is_no_better_is_rejected_with_a_record(served: House) -> None:
    flat = np.random.default_rng(0)
    for _ in range(4):  # labels that nobody can learn
        inputs = flat.normal(size=(150, 2))
        served.label(served.predict(inputs), flat.integers(0, 2, 150))
        served.tick()
    assert "reject" in served.decisions() or "promote" in served.decisions()[2:]
    assert all(job.status in ("succeeded", "failed") for job in served.trainings())
    assert len(served.trainings()) <= 6  # the cool-down: never more than one per hundred labelled rows


def test_two_beats_ask_for_one_check_per_interval_and_model(house: House) -> None:
    for _ in range(3):
        tick.run(house.room)
    house.settle()
    with house.db.read() as tx:
        asked = [job for job in jobs.listed(tx, "check", None, None, 100, None).entries if job.lane]
    assert len([check for check in house.checks() if check["decision"] == "insufficient"]) == 1
    assert len(asked) == 2  # the tick's, and the one that follows the generated data


def test_the_loop_goes_on_when_the_clock_is_put_back(house: House) -> None:
    """Ten intervals come a second time: checks are asked for again, but for those of the minute by which hosts may differ."""
    for _ in range(10):
        house.tick()
    before = len(house.checks())
    house.clock.now -= 300
    for _ in range(10):
        house.tick()
    assert len(house.checks()) >= before + 7


def test_a_model_is_checked_at_its_own_interval_and_trained_after_its_own_cool_down(house: House) -> None:
    """`slow` each 90 s where all others are each 30 s; its 150 labels are an attempt for others, not for it."""
    house.declare("slow", **PLANE, interval_s=90, cooldown_rows=500)
    for _ in range(6):
        house.tick()
    assert len(house.checks("slow")) == 3  # 150 s reach into three of its intervals
    assert len(house.checks()) >= 6
    with house.db.begin() as tx:
        models.change(tx, "slow", head=1_150, attempt_rows=1_000, attempt_head=1_000, classes=[0, 1])
    house.tick(90)
    assert house.checks("slow")[-1]["decision"] == "insufficient"
    with house.db.begin() as tx:
        models.change(tx, "slow", head=1_500)
    house.tick(90)
    assert house.checks("slow")[-1]["decision"] == "first"


def test_the_plain_rule_finds_a_turned_concept_too(house: House) -> None:
    """`detector = "threshold"`: the alarm is of the newest hundred labels, the decision says so."""
    house.tick()
    house.declare("default", **PLANE | {"label": "label"}, detector="threshold")
    feed(house, 150, "concept", 0)
    house.tick()
    alarm = next(check for check in house.checks() if check["decision"] == "drift")
    assert (alarm["limit"], alarm["floor"]) == (pytest.approx(0.3), None)
    assert house.model().champion == "2"
    with house.db.read() as tx:
        told = [each.reason for each in decisions.listed(tx, "default", 10, None).entries if each.action == "train"]
    assert "its error on 100 labelled rows is 0." in told[0]


def test_a_prediction_before_the_first_model_waits_and_is_answered(house: House) -> None:
    packed = PackedRows(1, np.array([[3.0, 3.0]]).tobytes())
    job = house.post("predict", payload=packed.encode())
    house.settle()
    assert house.job(job).status == "queued"
    house.tick()
    with house.db.begin() as tx:
        assert [bell.job_id for bell in ledger.due(tx, house.clock(), 10, "predict")] == [job]  # it is rung by the next sweep
        assert ledger.fail_hopeless(tx, house.clock() + 1e6) == []
    tasks.carry(house.room, "predict", [job], "again")
    assert house.result(job)["predictions"][0]["label"] == 1


def test_a_model_whose_file_was_swapped_holds_up_no_other(house: House) -> None:
    """The swapped file is never loaded: people are told, its own predictions wait and then fail, the rest is answered."""
    house.tick()
    _swap_the_only_version_of_other(house)
    packed = PackedRows(1, np.array([[3.0, 3.0]]).tobytes()).encode()
    refused, answered = house.post("predict", "other", packed), house.post("predict", "default", packed)
    tasks.carry(house.room, "predict", [refused], "t1")
    assert (house.job(refused).status, house.job(answered).status) == ("queued", "succeeded")
    assert house.told().count(("The file of other version 1 is refused", "told")) == 1
    with house.db.begin() as tx:
        ledger.fail_hopeless(tx, house.clock() + house.settings.no_model_wait_s + 1)
    assert house.job(refused).status == "failed"
    assert "No champion of 'other' could serve it" in (house.job(refused).error or "")


def test_the_version_before_serves_while_the_champions_file_is_refused(house: House) -> None:
    house.tick()
    with house.db.begin() as tx:
        version = versions.get(tx, "default", "1")
        assert version is not None
        versions.add(tx, replace(version, number=2, artifact="models/default/2.skops", sha256="0" * 64, promoted_from="1"))
        champions.serve(tx, "default", "2", 0)
    with house.room.artifacts.writing("models/default/2.skops") as draft:
        draft.write_bytes(b"not the file that was trained")
    job = house.predict(np.array([[3.0, 3.0]]))
    assert house.result(job)["version"] == "1"
    assert ("The file of default version 2 is refused", "told") in house.told()


def _swap_the_only_version_of_other(house: House) -> None:
    house.declare("other", **PLANE)
    with house.db.begin() as tx:
        version = versions.get(tx, "default", "1")
        assert version is not None
        versions.add(tx, replace(version, model="other", artifact="models/other/1.skops", sha256="0" * 64))
        champions.serve(tx, "other", "1", 0)
    with house.room.artifacts.writing("models/other/1.skops") as draft:
        draft.write_bytes(b"not the file that was trained")
