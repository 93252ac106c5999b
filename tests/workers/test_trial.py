"""A challenger on trial, in shadow and as a canary: it serves if it proves itself, and whatever else happens ends the trial."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ml.generator import Drift, generate
from ml.trial import LIMIT
from problems.catalog import builtin
from problems.declaration import declared
from storage import champions, claims, decisions, jobs, models, predictions, shadows, trials, versions
from storage.decisions import Decision
from storage.trials import Trial
from tests.workers.conftest import House
from tests.workers.test_loop import feed
from workers import tasks
from workers.aliases import Aliases
from workers.reproduce import run
from workers.shelf import share_of
from workers.sweeper import Sweeper

MODES = ["shadow", "canary"]


def declare(house: House, **loop: Any) -> None:
    """The built-in model, with these keys."""
    house.clock.now += 1
    with house.db.begin() as tx:
        models.declare(tx, "default", declared(builtin()) | loop, "declared", house.clock())


def tried(house: House, mode: str, concept: Drift = "concept", **loop: Any) -> House:
    """A house whose rule has turned, and whose second version is on trial."""
    declare(house, trial=mode, **loop)
    house.tick()
    feed(house, 150, concept, 0)
    house.tick()
    assert (house.model().champion, on_trial(house)) == ("1", "2")
    return house


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def train_now(house: House, champion: str, since: int, reason: str = "drift") -> None:
    """A training that a check had asked for before it knew of the trial."""
    asked = {"reason": reason, "change_position": house.model().head - since, "from_version": champion, "seed": 1}
    house.post("train", payload=json.dumps(asked).encode())
    house.settle()


def trial_of(house: House) -> Trial | None:
    with house.db.read() as tx:
        return trials.get(tx, "default")


def on_trial(house: House) -> str | None:
    found = trial_of(house)
    return found.version if found else None


def recorded(house: House) -> Sequence[Decision]:
    with house.db.read() as tx:
        return decisions.listed(tx, "default", 100, None).entries[::-1]


def versions_that_answered(house: House, job_ids: Sequence[str]) -> set[str]:
    with house.db.read() as tx:
        return {each.version for each in predictions.get_many(tx, job_ids).values()}


def ends_rejected(house: House, because: str) -> Decision:
    """The champion serves on, and the story's last line says why."""
    last = recorded(house)[-1]
    assert (last.action, last.version, last.from_version) == ("reject", "2", "1")
    assert because in last.reason
    assert (house.model().champion, trial_of(house)) == ("1", None)
    assert last.evidence["trial"]["mode"] == house.model().declared["trial"]
    return last


def test_a_winner_of_the_gate_is_tried_proven_and_promoted_and_the_records_read_like_a_story(house: House, mode: str) -> None:
    """Alarm, training, trial, promotion: one incident, each line with its evidence; then it is on probation as any other."""
    tried(house, mode)
    Aliases(house.room).follow()
    assert (house.registry.champion("default"), house.registry.challengers) == ("1", {"default": "2"})
    feed(house, 100, "concept", 1)
    house.tick()
    assert (house.model().champion, trial_of(house)) == ("2", None)
    story = recorded(house)
    assert [(each.action, each.version, each.evidence["by"]) for each in story] == [
        *(("train", None, "check"), ("promote", "1", "gate")),
        *(("train", None, "check"), ("train", "2", "gate"), ("promote", "2", "trial")),
    ]
    began, ended = story[-2:]
    assert began.job_id == ended.job_id == story[-3].job_id
    assert f"is on trial ({mode}) beside version 1" in began.reason
    figures = ended.evidence["trial"]
    assert (figures["mode"], figures["limit"], figures["against"]) == (mode, LIMIT, "1")
    assert figures["better"] >= LIMIT > figures["worse"]
    assert figures["score"] > 0.8 > 0.6 > figures["champion_score"]
    assert figures["proof_rows"]["better"] <= figures["rows"] == 100
    assert len(figures["rows_sha256"]) == 64 and figures["positions"][1] - figures["positions"][0] == 100
    assert ended.evidence["check"]["trial"]["ended"] == "promote"
    assert [state for title, state in house.told() if "stood its trial" in title] == ["resolved"]
    Aliases(house.room).follow()
    assert (house.registry.champion("default"), house.registry.challengers) == ("2", {})
    assert house.model().follow_up_at is not None
    feed(house, 100, "concept", 2)
    house.tick()
    assert house.checks()[-1]["probation"]["against"] == "1"


def test_it_can_be_trained_again_from_each_record_of_its_trial(house: House) -> None:
    """The start's and the promotion's: the same bytes."""
    tried(house, "shadow")
    feed(house, 100, "concept", 1)
    house.tick()
    for each in recorded(house)[-2:]:
        again = run(house.room, each.id)
        assert (again.faults, "version 2" in again.made) == ([], True)


def test_a_challenger_that_is_worse_on_the_rows_that_come_is_rejected(house: House, mode: str) -> None:
    """The rule turns back: what it has learnt is no longer so, and nothing else is trained meanwhile."""
    tried(house, mode)
    trained = len(house.trainings())
    feed(house, 100, "none", 1)
    house.tick()
    last = ends_rejected(house, "evidence")
    figures = last.evidence["trial"]
    assert figures["worse"] >= LIMIT > figures["better"]
    assert figures["score"] < figures["champion_score"]
    assert len(house.trainings()) == trained
    assert ("default: version 2 did not stand its trial", "resolved") in house.told()


def test_in_shadow_clients_see_the_champion_only_and_the_challengers_answers_are_kept_beside(house: House) -> None:
    """Of each job, after the next check, and never twice; they are what it says when it is asked again."""
    tried(house, "shadow")
    rows, _ = generate(60, 2, 0.05, "concept", 1.0, 3)
    asked = [house.predict(part) for part in np.array_split(rows, 6)]
    assert versions_that_answered(house, asked) == {"1"}
    house.tick()
    house.tick()
    with house.db.read() as tx:
        kept = [shadows.get(tx, job) for job in asked]
        second = versions.get(tx, "default", "2")
        shadowing = jobs.listed(tx, "shadow", None, None, 100, None).entries
    assert second is not None
    said = [json.loads(each.answers) for each in kept if each]
    again = house.room.shelf.pipeline(second).predict(rows).tolist()
    assert [each["label"] for answers in said for each in answers] == again
    assert [json.loads(job.result or "")["rows"] for job in shadowing][::-1] == [60, 0]
    mine = [house.result(job)["predictions"] for job in asked]
    agreed = sum(one["label"] == other["label"] for a, b in zip(mine, said, strict=True) for one, other in zip(a, b, strict=True))
    found = trial_of(house)
    assert found is not None
    assert (found.answered, found.agreed) == (60, agreed)


def test_in_shadow_a_backlog_is_skipped_but_for_its_newest_rows(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """And while clients wait, nothing is answered at all."""
    tried(house, "shadow")
    monkeypatch.setattr("workers.shadow.ROWS", 25)
    for seed in range(5):
        house.predict(generate(10, 2, 0.05, "concept", 1.0, seed)[0])
    house.tick()
    assert getattr(trial_of(house), "answered", None) == 20
    house.predict(generate(10, 2, 0.05, "concept", 1.0, 9)[0])
    monkeypatch.setattr("workers.shadow.GROUP", 1)
    with house.db.begin() as tx:
        waiting = house.room.new_job("predict", "default", b"")
        jobs.add(tx, [waiting])
    version = json.dumps({"version": "2"}).encode()
    tasks.carry(house.room, "shadow", [house.post("shadow", payload=version)], "t")
    assert getattr(trial_of(house), "answered", None) == 20


def test_a_canary_answers_its_share_and_always_the_same_jobs(house: House) -> None:
    """Who answers stands in the result; the share is the hash's, and a job that was tried before is the champion's."""
    tried(house, "canary", canary_share=0.3)
    rows, _ = generate(60, 2, 0.05, "concept", 1.0, 3)
    asked = [house.predict(row) for row in np.array_split(rows, 60)]
    canary = {job for job in asked if share_of(job) < 0.3}
    assert 1 <= len(canary) <= 45
    assert {job for job in asked if house.result(job)["version"] == "2"} == canary
    assert versions_that_answered(house, sorted(canary)) == {"2"}
    with house.db.read() as tx:
        champion = house.room.shelf.champion(tx, "default")
    assert champion is not None
    assert {champion.answering(job, 2).version.name for job in canary} == {"1"}
    assert abs(np.mean([share_of(f"job {n}") < 0.3 for n in range(10_000)]) - 0.3) < 0.014


def test_a_canary_that_cannot_answer_costs_no_client_an_answer_and_its_trial(house: House) -> None:
    """The champion answers instead, at once."""
    tried(house, "canary", canary_share=0.5)
    rows, _ = generate(40, 2, 0.05, "concept", 1.0, 3)
    house.predict(rows)
    with house.db.read() as tx:
        champion = house.room.shelf.champion(tx, "default")
    assert champion is not None and champion.canary is not None
    champion.canary.pipeline[-1].coef_ = None
    asked = [house.predict(row) for row in np.array_split(rows, 40)]
    assert {house.job(job).status for job in asked} == {"succeeded"}
    assert versions_that_answered(house, asked) == {"1"}
    assert ends_rejected(house, "could not answer where the champion could").evidence["by"] == "canary"


def test_a_challenger_whose_file_is_refused_is_rejected_and_clients_notice_nothing(house: House, mode: str) -> None:
    """Neither the file nor the registry's copy is what the ledger knows; the champion answers all."""
    tried(house, mode, canary_share=0.5)
    with house.db.read() as tx:
        second = versions.get(tx, "default", "2")
    assert second is not None
    house.room.shelf._kept.clear()
    house.room.shelf._serving.clear()
    house.room.artifacts.path(second.artifact).write_bytes(b"not what was trained")
    house.registry._files["default", "2"] = b"neither"
    asked = [house.predict(row) for row in np.array_split(generate(20, 2, 0.05, "concept", 1.0, 3)[0], 20)]
    assert versions_that_answered(house, asked) == {"1"}
    house.tick()
    ends_rejected(house, "its file is refused")


def test_a_registry_that_is_away_makes_a_trial_wait(house: House) -> None:
    """The file is gone and cannot be fetched now: rows pass by, and the trial goes on when it is back."""
    tried(house, "shadow")
    with house.db.read() as tx:
        second = versions.get(tx, "default", "2")
    assert second is not None
    house.room.shelf._kept.pop(second.sha256, None)
    house.room.artifacts.path(second.artifact).unlink()
    house.registry.down = True
    feed(house, 50, "concept", 1)
    house.tick()
    assert on_trial(house) == "2"
    house.registry.down = False
    feed(house, 100, "concept", 2)
    house.tick()
    assert house.model().champion == "2"
    assert recorded(house)[-1].evidence["trial"]["rows"] == 100


def test_a_rollback_or_a_stop_by_a_person_ends_it(house: House, mode: str) -> None:
    """Stopped: a rejection by that person. Rolled back: the other side of the comparison is gone, and that is told first."""
    tried(house, mode)
    with house.db.begin() as tx:
        champions.stop_trial(tx, "default", "token 'ada'", house.clock())
    assert ends_rejected(house, "stopped by token 'ada'").evidence["by"] == "token 'ada'"
    with house.db.begin() as tx, pytest.raises(champions.NoTrial):
        champions.stop_trial(tx, "default", "token 'ada'", house.clock())


def test_a_champion_that_is_taken_back_takes_the_trial_with_it(house: House) -> None:
    """Version 3 was to be compared with version 2, which serves no more."""
    house.tick()
    feed(house, 150, "concept", 0)
    house.tick()
    declare(house, trial="canary")
    feed(house, 150, "none", 1)
    train_now(house, "2", 150)
    assert on_trial(house) == "3"
    with house.db.begin() as tx:
        champions.roll_back(tx, "default", "ada", house.clock())
    told = [(each.action, each.version) for each in recorded(house)[-2:]]
    assert (told, trial_of(house)) == ([("reject", "3"), ("rollback", "1")], None)


def test_a_declaration_that_asks_for_no_trial_any_more_ends_it(house: House) -> None:
    """At once for clients, at the next check for the record."""
    tried(house, "canary", canary_share=0.5)
    declare(house)
    asked = [house.predict(row) for row in np.array_split(generate(20, 2, 0.05, "concept", 1.0, 3)[0], 20)]
    assert versions_that_answered(house, asked) == {"1"}
    house.tick()
    last = recorded(house)[-1]
    assert (last.action, trial_of(house)) == ("reject", None)
    assert "not declared for this kind of trial" in last.reason


def test_time_ends_it_too(house: House) -> None:
    """With too few labels nobody is promoted."""
    tried(house, "shadow", trial_days=2)
    house.tick(2 * 86_400)
    assert on_trial(house) == "2"
    house.tick(3_600)
    ends_rejected(house, "no label came in 2 days")


def test_a_shadow_that_takes_its_worker_down_each_time_ends_the_trial(house: House) -> None:
    """Four workers die of it: the job is dead, the challenger rejected, and people are told of both."""
    tried(house, "shadow")
    house.predict(generate(5, 2, 0.05, "concept", 1.0, 3)[0])
    job_id = house.post("shadow", payload=json.dumps({"version": "2"}).encode())
    sweeper = Sweeper(house.room, steady=house.clock)
    for attempt in range(house.settings.max_attempts):
        with house.db.begin() as tx:
            claims.claim(tx, [job_id], f"gone/{attempt}", "t", house.clock(), 30)
        for _ in range(33):
            house.clock.now += 1
            with house.db.begin() as tx:
                sweeper._settle(tx)
    assert house.job(job_id).status == "dead"
    assert ends_rejected(house, "could not answer in shadow").evidence["error"]["type"] == "worker_lost"
