"""A model that is made worse on purpose after its promotion is rolled back by itself; a good one is left alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from loguru import logger

from ml.model_file import dump
from registry.port import Upload
from storage import champions, decisions, detectors, incidents, models, versions
from storage.decisions import Decision
from storage.versions import Version
from tests.workers.conftest import House
from tests.workers.test_loop import feed
from workers import check
from workers.aliases import Aliases
from workers.lease import Claim


@pytest.fixture
def served(house: House) -> House:
    """A house whose built-in model has its first version, also in the registry."""
    house.tick()
    Aliases(house.room).follow()
    assert house.registry.champion("default") == "1"
    return house


def version_two(house: House, wrong: bool) -> Version:
    """A second version: the first, with its rule turned round if it is to be wrong."""
    with house.db.read() as tx:
        first = versions.get(tx, "default", "1")
    assert first is not None
    pipeline: Any = house.room.shelf._load(first)
    if wrong:
        pipeline[-1].coef_ = -pipeline[-1].coef_
    with house.room.artifacts.writing("models/default/two.skops") as draft:
        digest = dump(pipeline, draft)
    second = replace(first, number=2, artifact="models/default/two.skops", sha256=digest, promoted_from="1")
    file = house.room.artifacts.path(second.artifact)
    sample = np.zeros((1, 2))
    upload = Upload("default", pipeline, file, sample, pipeline.predict(sample), {}, {}, {}, [])
    assert house.registry.register(upload) == "2"
    with house.db.begin() as tx:
        versions.add(tx, second)
    return second


def newest(house: House) -> Decision:
    with house.db.read() as tx:
        found = decisions.newest(tx, "default")
    assert found is not None
    return found


def test_a_version_that_is_worse_than_its_predecessor_is_rolled_back_by_itself(served: House) -> None:
    """Within a hundred labels, before any training; a decision with its figures, one incident, the alias back."""
    version_two(served, wrong=True)
    with served.db.begin() as tx:
        champions.serve(tx, "default", "2", models.lock(tx, "default").head)
    trained = len(served.trainings())
    feed(served, 100, "none", 5)
    served.tick()
    decision = newest(served)
    assert served.model().champion == "1"
    assert (decision.action, decision.version, decision.from_version) == ("rollback", "1", "2")
    figures = decision.evidence["probation"]
    assert figures["proof"] >= figures["limit"] == 1_000
    assert figures["score"] < 0.2 < 0.8 < figures["predecessor_score"]
    assert figures["positions"][1] - figures["positions"][0] == 100 and len(figures["rows_sha256"]) == 64
    assert "by itself from version 2 to 1" in decision.reason
    check = served.checks()[-1]
    assert (check["decision"], check["rolled_back_to"], check["train_job"]) == ("warning", "1", None)
    assert ("default was rolled back by itself", "resolved") in served.told()
    assert len(served.trainings()) == trained
    Aliases(served.room).follow()
    assert served.registry.champion("default") == "1"


def test_an_alias_that_a_person_moved_to_a_bad_version_is_moved_back(served: House) -> None:
    """Adopted as the person asked, then judged like any promotion; a drift that was open is over with its version."""
    version_two(served, wrong=True)
    with served.db.begin() as tx:
        opened = ("drift:default", "default", "failure", "opened", "Training of default failed", ["why"], served.clock())
        incidents.tell(tx, *opened)  # type: ignore[arg-type]
    served.registry.set_champion("default", "2")
    Aliases(served.room).follow()
    assert served.model().champion == "2"
    assert served.told()[-1] == ("The champion of default was moved by hand", "resolved")
    feed(served, 100, "none", 5)
    served.tick()
    Aliases(served.room).follow()
    assert (served.model().champion, served.registry.champion("default")) == ("1", "1")


def test_a_champion_that_the_registry_has_lost_serves_on_and_is_told_of_once(served: House) -> None:
    """Deleted in MLflow's page: the alias is tried again each second, but nobody reads the same line each second."""
    served.registry.forget("default", "1")
    lines: list[str] = []
    sink = logger.add(lines.append, level="ERROR", format="{message}")
    aliases = Aliases(served.room)
    for _ in range(3):
        aliases.follow()
    logger.remove(sink)
    assert lines == ["the registry has lost a version of default; 1 serves from its own file\n"]
    assert served.model().champion == "1"


def test_a_good_version_stands_its_probation_which_then_ends(served: House) -> None:
    """2,100 labelled rows beside an equal: it serves, and is compared no more."""
    version_two(served, wrong=False)
    with served.db.begin() as tx:
        champions.serve(tx, "default", "2", models.lock(tx, "default").head)
    with served.db.begin() as tx:
        models.change(tx, "default", attempt_rows=1_000_000)  # no growth refresh: only the probation is looked at
    for seed in range(7):
        feed(served, 300, "none", seed)
        served.tick()
    assert served.model().champion == "2"
    assert [check["probation"]["rows"] for check in served.checks() if check.get("probation")] == [*range(300, 2_000, 300), 2_000]
    feed(served, 100, "none", 8)
    served.tick()
    with served.db.read() as tx:
        detector = detectors.get(tx, "default", "2")
    assert detector is not None and detector.probation is None
    assert "rollback" not in served.decisions()


def test_what_was_rolled_back_to_is_on_no_probation_and_in_a_cool_down(served: House) -> None:
    """So nothing swings: the next move needs a training, and that a hundred labels."""
    version_two(served, wrong=True)
    with served.db.begin() as tx:
        champions.serve(tx, "default", "2", models.lock(tx, "default").head)
    feed(served, 100, "none", 5)
    served.tick()
    with served.db.read() as tx:
        detector = detectors.get(tx, "default", "1")
    model = served.model()
    assert detector is not None
    assert (detector.probation, detector.start) == (None, model.head)
    assert model.attempt_head == model.head


def test_a_promotion_by_the_gate_is_on_probation_and_a_concept_that_turns_back_ends_it(served: House) -> None:
    """The turned rule is learnt; when it turns back, the predecessor serves again before anything is trained."""
    feed(served, 150, "concept", 0)
    served.tick()
    assert served.model().champion == "2"
    for seed in range(2):
        feed(served, 60, "none", 10 + seed)
        served.tick()
    assert served.model().champion == "1"
    assert served.decisions()[-1] == "rollback"


def test_where_the_predecessor_does_not_fit_either_a_training_starts_with_the_rollback(served: House) -> None:
    """It is the better one, but the rule has turned since it learnt: what shows both is learnt from at once."""
    version_two(served, wrong=True)
    with served.db.begin() as tx:
        champions.serve(tx, "default", "2", models.lock(tx, "default").head)
    feed(served, 200, "concept", 5, strength=0.3)
    served.tick()
    check, training = served.checks()[-1], served.trainings()[-1]
    assert (check["decision"], check["rolled_back_to"], check["train_job"]) == ("drift", "1", training.id)
    assert list(served.decisions()[-3:]) == ["rollback", "train", "promote"]
    with served.db.read() as tx:
        started, promoted = sorted(decisions.of_job(tx, "default", training.id), key=lambda each: each.id)
    assert started.from_version == promoted.from_version == "1"
    assert "so is that of version 1, which serves again: 0.175 against 0.101" in started.reason
    assert served.model().champion == "3" and not served.model().drifting
    assert [state for _, state in served.told()][-1] == "resolved"


def test_rows_that_come_while_a_check_runs_do_not_move_the_change_that_it_found(served: House) -> None:
    """The training is asked with the position that the change had when the check looked."""
    version_two(served, wrong=True)
    with served.db.begin() as tx:
        champions.serve(tx, "default", "2", models.lock(tx, "default").head)
    feed(served, 200, "concept", 5, strength=0.3)
    late = served.predict(np.zeros((50, 2)))
    done = check.work(served.room, served.job(served.post("check", payload=b"{}")), Claim("test", float("inf")))
    served.label(late, [0] * 50)
    assert done.settle is not None
    assert isinstance(done.result, dict)
    with served.db.begin() as tx:
        train = next(job for job in done.settle(tx, served.clock()) if job.kind == "train")
    asked = msgspec.json.decode(train.payload or b"")
    assert asked["change_position"] == done.result["head"] - done.result["rows_since_change"]
    assert (served.model().champion, served.model().drifting, asked["from_version"]) == ("1", True, "1")
