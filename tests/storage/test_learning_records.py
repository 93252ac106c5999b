"""Labels, datasets, detectors and champions: one ordered history per model, and moves of the champion that leave a record."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

import pytest

from problems.catalog import builtin
from problems.declaration import declared
from storage import champions, datasets, decisions, detectors, labels, models, predictions, shadows, trials, versions
from storage.champions import NothingToRollBack, NoTrial
from storage.database import Database
from storage.datasets import NewDataset, Source
from storage.detectors import Detector
from storage.ids import new_id
from storage.predictions import Logged
from storage.shadows import Shadow
from storage.trials import Trial
from storage.versions import Version
from tests.storage.conftest import NOW

JOB = "01900000-0000-7000-8000-00000000000"


def dataset(number: int, rows: int, source: Source = "upload") -> NewDataset:
    return NewDataset(f"{JOB}{number}", f"{JOB}{number}", "default", rows, 0, source, {}, "datasets/x", "0" * 64)


def version(number: int, promoted_from: str | None) -> Version:
    reference = {"error": 0.1, "rows": 250, "mu0": 0.15, "error_scale": None}
    shown = {"score": 0.9 - number / 100}
    return Version("default", number, JOB, NOW, "models/x", "0" * 64, shown, {}, promoted_from, reference, {}, [0, 1])


def promote(db: Database, number: int, promoted_from: str | None) -> None:
    with db.begin() as tx:
        versions.add(tx, version(number, promoted_from))
        champions.serve(tx, "default", str(number), models.lock(tx, "default").head, alias_pending=False)


def test_labels_and_datasets_share_one_axis_in_the_order_they_came(db: Database) -> None:
    with db.begin() as tx:
        labels.store(tx, "default", [((f"{JOB}1", 0), "1"), ((f"{JOB}1", 1), "0")], lambda: NOW)
        assert datasets.add(tx, dataset(2, 10), NOW).position == 2
        labels.store(tx, "default", [((f"{JOB}1", 2), "1")], lambda: NOW)
        assert [row[0] for row in labels.between(tx, "default", 0, 100)] == [0, 1, 12]
        assert models.lock(tx, "default").head == 13


def test_a_backfill_is_older_than_everything_and_leaves_the_head_alone(db: Database) -> None:
    with db.begin() as tx:
        datasets.add(tx, dataset(1, 10), NOW)
        assert datasets.add(tx, dataset(2, 5, "backfill"), NOW).position == -5
        assert datasets.add(tx, dataset(3, 5, "backfill"), NOW).position == -10
        model = models.lock(tx, "default")
        assert (model.tail, model.head, model.rows) == (-10, 10, 20)
        assert [each.position for each in datasets.between(tx, "default", -7, 1)] == [-10, -5, 0]


def test_the_latest_label_wins_within_and_across_requests_and_each_change_is_kept(db: Database) -> None:
    key = (f"{JOB}1", 0)
    with db.begin() as tx:
        first = labels.store(tx, "default", [(key, "0"), (key, "1"), (key, "1")], lambda: NOW)
        again = labels.store(tx, "default", [(key, "1")], lambda: NOW + 1)
        changed = labels.store(tx, "default", [(key, "0")], lambda: NOW + 2)
        (stored,) = labels.of_job(tx, key[0])
    assert [(each.accepted, each.duplicate) for each in (first, again, changed)] == [(2, 1), (0, 1), (1, 0)]
    assert stored.label == "0" and [label for label, _ in stored.history] == ["0", "1"]


def test_a_corrected_label_keeps_its_place(db: Database) -> None:
    key = (f"{JOB}1", 0)
    with db.begin() as tx:
        labels.store(tx, "default", [(key, "0")], lambda: NOW)
        labels.store(tx, "default", [(key, "1")], lambda: NOW + 1)
        assert labels.between(tx, "default", 0, 9) == [(0, 0, "1", None, key[0])]
        assert models.lock(tx, "default").head == 1


def test_labels_are_given_as_they_stood_at_a_moment(db: Database) -> None:
    """0, then 1, then 0 again with a 1 in between in one call; before it was given, a label is the first one."""
    key = (f"{JOB}1", 0)
    with db.begin() as tx:
        for at, given in enumerate((["0"], ["1"], ["0", "1", "0"], ["1"])):
            labels.store(tx, "default", [(key, label) for label in given], lambda at=at: NOW + at)  # type: ignore[misc]
        stood = [labels.between(tx, "default", 0, 9, NOW + at)[0][2] for at in (-1, 0, 0.5, 1, 2, 3)]
    assert stood == ["0", "0", "0", "1", "0", "1"]


def test_a_label_of_a_machine_whose_clock_is_ahead_is_known_after_its_correction(db: Database) -> None:
    """It says that it came after what replaced it; only what one call replaces at once has never stood."""
    key = (f"{JOB}1", 0)
    with db.begin() as tx:
        labels.store(tx, "default", [(key, "0")], lambda: NOW + 40)
        labels.store(tx, "default", [(key, "1")], lambda: NOW + 5)
        assert [labels.between(tx, "default", 0, 9, NOW + at)[0][2] for at in (2, 5)] == ["0", "1"]


def test_the_moments_of_corrections_are_those_of_one_model_and_of_the_time_asked_for(db: Database) -> None:
    """The first label of a prediction is no correction."""
    with db.begin() as tx:
        models.declare(tx, "other", declared(builtin()), "declared", NOW)
        for at, label in enumerate("0101"):
            labels.store(tx, "default", [((f"{JOB}1", 0), label), ((f"{JOB}1", 1), "0")], lambda at=at: NOW + at)  # type: ignore[misc]
        labels.store(tx, "other", [((f"{JOB}2", 0), "0")], lambda: NOW)
        labels.store(tx, "other", [((f"{JOB}2", 0), "1")], lambda: NOW + 2.5)
        assert labels.corrected(tx, "default", NOW, NOW + 9) == [NOW + 1, NOW + 2, NOW + 3]
        assert labels.corrected(tx, "default", NOW + 2, NOW + 2.9) == [NOW + 2]
        assert labels.corrected(tx, "other", NOW, NOW + 9) == [NOW + 2.5]


def test_labels_are_stored_in_the_order_of_their_times(db: Database) -> None:
    """Who waits for another's transaction takes the time after it: a training knows by time which corrections it has read."""
    asked = threading.Event()

    def clock() -> float:
        asked.set()
        return NOW

    with ThreadPoolExecutor(1) as pool:
        with db.begin() as tx:
            models.lock(tx, "default")
            other = pool.submit(db.run, lambda its: labels.store(its, "default", [((f"{JOB}1", 0), "1")], clock))
            assert not asked.wait(0.3)
        assert other.result(10).accepted == 1


def test_a_detector_moves_only_from_where_it_was_read(db: Database) -> None:
    start = Detector("default", "1", 0, 0, {}, None)
    moved = Detector("default", "1", 0, 10, {"rows": 10}, None)
    with db.begin() as tx:
        detectors.begin(tx, start)
        assert detectors.advance(tx, start, moved)
        assert not detectors.advance(tx, start, moved)
        assert detectors.get(tx, "default", "1") == moved


def test_a_rollback_lets_the_previous_version_serve_with_a_fresh_detector_and_a_record(db: Database) -> None:
    promote(db, 1, None)
    promote(db, 2, "1")
    with db.begin() as tx:
        labels.store(tx, "default", [((f"{JOB}1", 0), "1")], lambda: NOW)
        decision = champions.roll_back(tx, "default", "ada", NOW)
        model, detector = models.lock(tx, "default"), detectors.get(tx, "default", "1")
        assert (decision.action, decision.version, decision.from_version) == ("rollback", "1", "2") and "ada" in decision.reason
        assert (model.champion, model.alias_pending, model.attempt_head) == ("1", True, 1)
        assert detector is not None and (detector.start, detector.position) == (1, 1)
        assert [each.action for each in decisions.listed(tx, "default", 5, None).entries] == ["rollback"]


def test_there_is_nothing_to_roll_back_to_before_a_second_version(db: Database) -> None:
    with db.begin() as tx, pytest.raises(NothingToRollBack):
        champions.roll_back(tx, "default", "ada", NOW)
    promote(db, 1, None)
    with db.begin() as tx, pytest.raises(NothingToRollBack, match="no version before 1"):
        champions.roll_back(tx, "default", "ada", NOW)


def test_an_alias_moved_by_hand_is_followed_to_a_known_version_only(db: Database) -> None:
    promote(db, 1, None)
    promote(db, 2, "1")
    with db.begin() as tx:
        assert champions.adopt(tx, "default", "7", NOW) is None
        decision = champions.adopt(tx, "default", "1", NOW)
        assert decision is not None and decision.from_version == "2"
        assert models.lock(tx, "default").champion == "1"


def trial(version: str, mode: Literal["shadow", "canary"] = "canary") -> Trial:
    return Trial("default", version, "1", mode, JOB, "drift:default", NOW, 7, None, {}, {}, {"rows": 0})


def test_a_trial_is_seen_by_predictions_counts_on_and_ends_once(db: Database) -> None:
    """A canary stands beside the champion, a shadow does not; what is stored after its end is dropped."""
    promote(db, 1, None)
    with db.begin() as tx:
        assert models.serving(tx, "default") == ("default", "1", NOW, None)
        began = champions.try_out(tx, trial("2"), "It won.", {"by": "gate"}, NOW)
        assert (began.action, began.version, began.from_version) == ("train", "2", "1")
        assert models.serving(tx, "default") == ("default", "1", NOW, "2")
        assert trials.challengers(tx) == {"default": "2"}
        moved = replace(trial("2"), standing={"better": {"rows": 3}}, figures={"rows": 3})
        assert trials.advance(tx, moved)
        trials.count(tx, "default", "2", 10, 9)
        trials.count(tx, "default", "3", 10, 9)
        assert trials.get(tx, "default") == replace(moved, answered=10, agreed=9)
        assert models.lock(tx, "default").alias_pending
        assert champions.reject(tx, "default", "another", {}, NOW, "3") is None
        decision, ended = champions.stop_trial(tx, "default", "ada", NOW)
        assert (decision.action, ended.version, decision.evidence["trial"]["agreed"]) == ("reject", "2", 9)
        assert not trials.advance(tx, moved)
        assert models.serving(tx, "default") == ("default", "1", NOW, None)
        with pytest.raises(NoTrial):
            champions.stop_trial(tx, "default", "ada", NOW)
        champions.try_out(tx, trial("3", "shadow"), "It won.", {"by": "gate"}, NOW)
        assert models.serving(tx, "default") == ("default", "1", NOW, None)


def test_of_the_newest_predictions_those_without_a_shadow_are_found(db: Database) -> None:
    """Newest first, as many rows as are asked for; not those in files, of another model or from before the trial."""
    ids = [new_id(NOW + n) for n in range(6)]
    entries = [Logged(each, "default", "1", 2, b"rows", None, NOW) for each in ids]
    entries[1] = Logged(ids[1], "default", "1", 2, None, "a file", NOW)
    entries[2] = Logged(ids[2], "other", "1", 2, b"rows", None, NOW)
    with db.begin() as tx:
        predictions.log(tx, entries)
        shadows.log(tx, [Shadow(ids[4], "default", "2", 2, 1, "[]", NOW)])
        assert [each.job_id for each in shadows.unanswered(tx, "default", NOW, 100)] == [ids[5], ids[3], ids[0]]
        assert [each.job_id for each in shadows.unanswered(tx, "default", NOW + 1, 100)] == [ids[5], ids[3]]
        assert [each.job_id for each in shadows.unanswered(tx, "default", NOW, 5)] == [ids[5]]
        assert shadows.get(tx, ids[4]) == Shadow(ids[4], "default", "2", 2, 1, "[]", NOW)
        assert shadows.get(tx, ids[5]) is None
