"""Another version begins to serve while a training or a check runs: what they found is of one that serves no more."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ml.challenger import Training, train
from storage import champions, decisions, incidents, ledger, models, versions
from tests.workers.conftest import House
from tests.workers.test_loop import feed, served
from workers import tasks
from workers.coverage import Coverage, measure

__all__ = ["served"]  # the loop's fixture, used here as it is


def test_a_rollback_during_a_training_is_not_undone_by_it(served: House) -> None:
    for seed in range(6):
        feed(served, 200, "concept", seed)
        served.tick()
    first_drift = served.model()
    payload = {"reason": "drift", "change_position": None, "from_version": first_drift.champion, "seed": 1}
    training = served.post("train", payload=json.dumps(payload).encode())
    with served.db.begin() as tx:
        champions.roll_back(tx, "default", "ada", served.clock())
    rolled = served.model().champion
    served.settle()
    assert served.job(training).status == "failed"
    assert json.loads(served.job(training).error or "{}")["type"] == "superseded"
    assert served.model().champion == rolled
    with served.db.read() as tx:
        assert decisions.newest(tx, "default").reason.startswith("The training failed")  # type: ignore[union-attr]
        assert not [each for each in incidents.listed(tx, 100, None).entries if each.state in incidents.OPEN]


@pytest.fixture
def mended(served: House) -> House:
    """A house whose champion replaced another one after a drift."""
    for seed in range(6):
        feed(served, 200, "concept", seed)
        served.tick()
    assert served.model().champion != "1"
    return served


def test_a_rollback_during_a_training_that_is_rejected_stays_and_so_does_its_cool_down(
    mended: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record does not say that a version stays which serves no more."""

    def rolled_back_meanwhile(*asked: Any) -> Training:
        feed(mended, 50, "concept", 9)
        with mended.db.begin() as tx:
            champions.roll_back(tx, "default", "ada", mended.clock())
        return replace(train(*asked), decision="rejected", model=None)

    asked = {"reason": "growth", "change_position": None, "from_version": mended.model().champion, "seed": 1}
    training = mended.post("train", payload=json.dumps(asked).encode())
    monkeypatch.setattr("workers.train.train", rolled_back_meanwhile)
    tasks.carry(mended.room, "train", [training], "t")
    model = mended.model()
    assert json.loads(mended.job(training).error or "{}")["type"] == "superseded"
    assert (model.attempt_head, model.attempt_rows) == (model.head, model.rows)
    with mended.db.read() as tx:
        assert "began to serve" in decisions.listed(tx, "default", 1, None).entries[0].reason


def test_a_check_during_which_another_version_began_to_serve_says_nothing_of_that_one(
    mended: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its performance nor its alarm is the other's, no training is asked for that could only fail; it is made again."""

    def rolled_back_meanwhile(*asked: Any) -> Coverage:
        with mended.db.begin() as tx:
            champions.roll_back(tx, "default", "ada", mended.clock())
        return measure(*asked)

    feed(mended, 200, "none", 9)
    with mended.db.begin() as tx:
        models.change(tx, "default", follow_up_at=mended.model().head)  # a training is due
    before = mended.trainings(), mended.checks()
    looked = mended.post("check")
    with monkeypatch.context() as patched:
        patched.setattr("workers.check.measure", rolled_back_meanwhile)
        tasks.carry(mended.room, "check", [looked], "t")
    model = mended.model()
    assert (mended.job(looked).status, mended.job(looked).failures) == ("queued", 1)
    with mended.db.read() as tx:
        assert [bell.job_id for bell in ledger.due(tx, mended.clock(), 10, "checks")] == [looked]
        serves = versions.get(tx, "default", model.champion or "")
    assert serves is not None
    assert (model.performance, model.drifting) == (serves.metrics["score"], False)
    assert (mended.trainings(), mended.checks()) == before
    tasks.carry(mended.room, "check", [looked], "t")
    assert mended.result(looked)["version"] == model.champion
