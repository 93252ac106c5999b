"""Challengers: windows, the gate, the guards, and a whole loop on a seeded stream."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.challenger import OneClass, Recalled, TooFewRows, is_grown, next_follow_up, train, windows
from ml.detector import reference, start, update
from ml.generator import generate
from ml.metrics import losses, score
from ml.prediction import predict
from tests.ml.common import MIXED, mixed_rows, problem

OLD, OLD_LABELS = generate(2_000, 2, 0.05, "none", 0.0, seed=1)
NEW, NEW_LABELS = generate(600, 2, 0.05, "concept", 1.0, seed=2)
BOTH, BOTH_LABELS = np.concatenate([OLD, NEW]), np.concatenate([OLD_LABELS, NEW_LABELS])


def test_the_first_model_is_promoted_without_a_champion_to_beat() -> None:
    """A quarter is held out, the model is refitted with it, and the detector's reference is its error there."""
    first = train(problem(), OLD, OLD_LABELS, None, None, 0, "first")
    assert (first.decision, first.window, first.rows, first.holdout_rows) == ("promoted", "all", 2_000, 500)
    assert first.champion_score is None
    assert first.challenger_score == pytest.approx(0.95, abs=0.03)
    assert first.reference.rows == 500
    assert first.reference.error == pytest.approx(1 - first.challenger_score)
    assert first.reference.mu0 == pytest.approx(reference(first.reference.error, 500).mu0)
    assert first.classes == (0, 1)
    assert first.model is not None
    assert first.model[0].n_samples_seen_ == 2_000


def test_after_a_change_the_window_since_it_wins() -> None:
    """600 rows of a new concept: the window that starts there beats the larger ones and the champion."""
    champion = train(problem(), OLD, OLD_LABELS, None, None, 0, "first").model
    attempt = train(problem(), BOTH, BOTH_LABELS, champion, 600, 0, "drift")
    assert (attempt.decision, attempt.window, attempt.rows, attempt.holdout_rows) == ("promoted", "since", 600, 200)
    assert attempt.champion_score is not None
    assert attempt.champion_score < 0.6 < 0.9 < attempt.challenger_score
    assert [c.window for c in attempt.candidates] == ["all", "recent", "2x since", "since"]
    assert [c.rows for c in attempt.candidates] == [2_600, 2_000, 1_200, 600]


def test_a_challenger_that_is_not_better_is_rejected() -> None:
    """On the champion's own concept an equal score is no reason; the reference is then the champion's."""
    champion = train(problem(), OLD, OLD_LABELS, None, None, 0, "first").model
    assert champion is not None
    attempt = train(problem(), OLD, OLD_LABELS, champion, 300, 0, "drift")
    newest = OLD_LABELS[-100:]
    kept = score("accuracy", newest, predict(champion, problem(), OLD[-100:]))
    assert (attempt.decision, attempt.model) == ("rejected", None)
    assert attempt.champion_score == kept
    assert attempt.reference == reference(attempt.champion_loss or 0.0, 100)


def test_a_smaller_window_wins_only_by_more_than_a_standard_error() -> None:
    """Without a change the largest stays although a smaller one may be luckier by a row or two."""
    calm, labels = generate(6_000, 2, 0.1, "none", 0.0, seed=3)
    attempt = train(problem(), calm, labels, None, 1_500, 0, "first")
    losing = [c for c in attempt.candidates if c.window != "all"]
    assert attempt.window == "all"
    assert all(attempt.candidates[0].mean_loss - c.mean_loss <= c.standard_error for c in losing)


def test_the_same_seed_gives_the_same_attempt() -> None:
    """Two attempts on the same rows agree in all but the seconds they took."""
    forest = problem(estimator="ensemble.RandomForestClassifier", estimator_args={"n_estimators": 5})
    one, other = (train(forest, BOTH, BOTH_LABELS, None, 600, 7, "first") for _ in range(2))
    assert one.candidates == other.candidates
    assert one.model is not None
    assert other.model is not None
    assert (one.model.predict(NEW) == other.model.predict(NEW)).all()


def test_a_regression_is_judged_by_its_metric_and_referenced_by_its_large_errors() -> None:
    """error_scale is the 80 % quantile of the absolute errors, so the reference error is about .2."""
    rng = np.random.default_rng(0)
    whose = problem("regression", "linear_model.LinearRegression", threshold=1)
    values = OLD @ [3.0, 1.0] + rng.normal(size=2_000)
    attempt = train(whose, OLD, values, None, None, 0, "first")
    assert attempt.challenger_score == pytest.approx((2 / np.pi) ** 0.5, abs=0.1)
    assert attempt.error_scale == pytest.approx(1.28, abs=0.15)
    assert attempt.reference.error == pytest.approx(0.2, abs=0.01)
    assert attempt.classes == ()


def test_mixed_features_are_learnt_too() -> None:
    """A DataFrame with missing values goes through windows, gate and refit."""
    whose = problem(features=MIXED)
    rows, labels = mixed_rows(whose, rows=600)
    assert train(whose, rows, labels, None, None, 0, "first").challenger_score > 0.8


def test_too_little_and_one_sided_data_are_told_apart() -> None:
    """Each guard has its error and its sentence."""
    with pytest.raises(TooFewRows, match="only 99 labelled rows, expected at least 100"):
        train(problem(), OLD[:99], OLD_LABELS[:99], None, None, 0, "first")
    with pytest.raises(OneClass, match="only one class in 2,000 rows"):
        train(problem(), OLD, np.zeros(2_000, dtype=int), None, None, 0, "first")
    with pytest.raises(OneClass, match="only one class in the 1,941 rows before the newest 59"):
        train(problem(), OLD, np.repeat([0, 1], [1_941, 59]), None, None, 0, "first")
    with pytest.raises(ValueError, match="3 classes in the labels of a binary task"):
        train(problem(), OLD, np.arange(2_000) % 3, None, None, 0, "first")


def test_a_second_class_that_came_late_is_learnt_and_held_out() -> None:
    """At most half of the rows since it came are held out, so that a single class at the start costs no training."""
    late = train(problem(), OLD, np.repeat([0, 1], [1_900, 100]), None, None, 0, "first")
    assert (late.holdout_rows, late.classes) == (50, (0, 1))


def test_a_window_of_one_class_is_passed_over() -> None:
    """The newest rows before the holdout are all of one class: only the window of all can be fitted."""
    labels = OLD_LABELS.copy()
    labels[-300:-100] = 1
    attempt = train(problem(), OLD, labels, None, 300, 0, "first")
    assert [c.window for c in attempt.candidates] == ["all", "2x since"]


@pytest.mark.parametrize(
    ("rows", "since", "expected"),
    [
        (5_000, None, [("all", 5_000), ("recent", 2_000)]),
        (5_000, 300, [("all", 5_000), ("recent", 2_000), ("2x since", 600), ("since", 300)]),
        (2_000, 1_000, [("all", 2_000), ("since", 1_000)]),
        (9_000, 3_000, [("all", 9_000), ("2x since", 6_000), ("since", 3_000), ("recent", 2_000)]),
        (500, 10, [("all", 500)]),
    ],
)
def test_windows_go_from_the_largest_to_the_smallest(rows: int, since: int | None, expected: list[tuple[str, int]]) -> None:
    """Each size once, none larger than history, none of fewer than 31 rows."""
    assert windows(rows, since) == expected


@pytest.mark.parametrize(("since", "held"), [(None, 75), (60, 30), (300, 100), (2_000, 150)])
def test_a_third_since_the_change_is_held_out_thirty_at_least_and_half_at_most(since: int | None, held: int) -> None:
    """Of 300 rows, also where the change is older than all of them: not every row since then can be learnt."""
    rows = np.random.default_rng(0).normal(size=(300, 2))
    asked = problem("regression", "linear_model.LinearRegression")
    assert train(asked, rows, rows.sum(axis=1), None, since, 0, "first").holdout_rows == held


def test_only_the_newest_twenty_thousand_rows_count() -> None:
    """Older ones, here labelled the other way round, are not looked at."""
    rows, labels = generate(25_000, 2, 0.0, "none", 0.0, seed=4)
    labels[:5_000] = 1 - labels[:5_000]
    attempt = train(problem(), rows, labels, None, None, 0, "first")
    assert (attempt.rows, attempt.holdout_rows) == (20_000, 1_000)
    assert attempt.challenger_score > 0.99


def two_regions(older: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """`older` rows of the region x1 > 0, whose rule is its own; 20,000 of x1 < 0, but for half of the newest 1,000."""
    rng = np.random.default_rng(seed)
    rows = rng.uniform(0.1, 1.0, (older + 20_000, 2)) * [1, 2] - [0, 1]
    rows[older:, 0] *= -1
    rows[-1_000::2, 0] *= -1
    return rows, ((rows[:, 1] > 0) == (rows[:, 0] > 0)).astype(int)


def test_older_rows_are_replayed_where_they_help_by_more_than_a_standard_error() -> None:
    """A region that only rows before the newest 20,000 know comes back: the replay wins the gate, and says so."""
    rows, labels = two_regions(400)
    tree = problem(estimator="tree.DecisionTreeClassifier")
    attempt = train(tree, rows, labels, None, None, 0, "first", np.arange(400))
    assert attempt.window == "replay"
    assert [c.window for c in attempt.candidates] == ["all", "recent", "replay"]
    windowed, replayed = attempt.candidates[0], attempt.candidates[2]
    assert windowed.score < 0.6 < 0.95 < replayed.score
    assert windowed.mean_loss - replayed.mean_loss > replayed.standard_error
    assert attempt.model is not None
    assert (attempt.model.predict(rows[:400]) == labels[:400]).mean() > 0.95


def test_older_rows_that_contradict_are_not_replayed() -> None:
    """The same older rows, labelled the other way round, do not win."""
    rows, labels = two_regions(400)
    labels[:400] = 1 - labels[:400]
    attempt = train(problem(estimator="tree.DecisionTreeClassifier"), rows, labels, None, None, 0, "first", np.arange(400))
    assert attempt.window == "all"
    assert attempt.candidates[-1].window == "replay"


def test_only_rows_before_the_window_are_replayed() -> None:
    """A sample that lies in the window has been learnt already: no further challenger."""
    attempt = train(problem(), OLD, OLD_LABELS, None, None, 0, "first", np.arange(0, 2_000, 4))
    assert [c.window for c in attempt.candidates] == ["all"]


def test_an_earlier_version_is_recalled_as_it_is_if_it_is_better_on_rows_that_it_has_not_seen() -> None:
    """The old concept is back since 150 rows: its version wins over every window; not if it has seen the holdout."""
    champion = train(problem(), NEW, NEW_LABELS, None, None, 0, "first").model
    first = train(problem(), OLD, OLD_LABELS, None, None, 0, "first").model
    back, back_labels = generate(150, 2, 0.05, "none", 0.0, seed=8)
    rows, labels = np.concatenate([NEW, back]), np.concatenate([NEW_LABELS, back_labels])
    fair, unfair = (Recalled("1", first, 2_000, (0, 1), unseen) for unseen in (150, 49))
    attempt = train(problem(), rows, labels, champion, 150, 0, "drift", None, [fair])
    assert (attempt.decision, attempt.window, attempt.rows) == ("promoted", "version 1", 2_000)
    assert attempt.model is first
    again = train(problem(), rows, labels, champion, 150, 0, "drift", None, [unfair])
    assert "version 1" not in [c.window for c in again.candidates]


def test_a_class_that_the_newest_rows_lack_is_not_forgotten() -> None:
    """a and b, then c and d whose rule turns: the window since the turn wins, and still knows a and b where replay has them."""
    inputs, sides = generate(2_600, 2, 0.0, "none", 0.0, seed=8)
    inputs[1_000:, 0] += 6.0
    turned = np.where(np.arange(2_600) >= 2_000, 1 - sides, sides)
    labels = np.array(list("abcd"))[turned + 2 * (np.arange(2_600) >= 1_000)]
    whose = problem("multiclass", "tree.DecisionTreeClassifier")
    replayed = np.random.default_rng(0).choice(2_600, 500, replace=False)
    champion = train(whose, inputs[:2_000], labels[:2_000], None, None, 0, "first").model
    plain, kept = (train(whose, inputs, labels, champion, 600, 0, "drift", replay) for replay in (None, replayed))
    assert (plain.window, plain.classes) == ("since", ("c", "d"))
    assert (kept.window, kept.classes) == ("since", ("a", "b", "c", "d"))
    assert kept.model is not None
    assert score("accuracy", labels[:1_000], predict(kept.model, whose, inputs[:1_000])) > 0.9


def test_a_gain_is_clear_beyond_one_paired_standard_error() -> None:
    """A new concept's challenger is clearly better than the old champion, its equal is not, and the first has nothing to beat."""
    first = train(problem(), OLD, OLD_LABELS, None, None, 0, "first")
    mended = train(problem(), BOTH, BOTH_LABELS, first.model, 600, 0, "drift")
    again = train(problem(), BOTH, BOTH_LABELS, mended.model, 600, 0, "follow_up")
    assert (first.is_clear, mended.is_clear, again.is_clear) == (True, True, False)
    assert first.gain_error is None
    assert mended.gain_error is not None
    assert 0.01 < mended.gain_error < 0.06


def test_follow_ups_double_until_two_thousand_and_growth_is_half_as_much_again() -> None:
    """150 → 300 → … → 1,200, and 1,500 labelled rows after 1,000."""
    followed, rows = [], next_follow_up(150)
    while rows is not None:
        followed.append(rows)
        rows = next_follow_up(rows)
    assert followed == [300, 600, 1_200]
    assert next_follow_up(1_000) == 2_000
    assert is_grown(1_500, 1_000)
    assert not is_grown(1_499, 1_000)


def test_a_turned_concept_is_found_and_learnt() -> None:
    """The loop in small: train, 500 calm rows, the rule turns, the alarm at an exact row, a better version."""
    whose = problem()
    first = train(whose, OLD, OLD_LABELS, None, None, 0, "first")
    assert first.model is not None
    calm, calm_labels = generate(500, 2, 0.05, "none", 0.0, seed=5)
    seen, labels = np.concatenate([calm, NEW]), np.concatenate([calm_labels, NEW_LABELS])
    state = start(first.reference.mu0, 10_000)
    state = update(state, losses(whose, labels, predict(first.model, whose, seen), None))
    assert state.alarm is not None
    since = state.rows - state.alarm.row - 1 + state.alarm.rows_since_change
    assert (state.alarm.row, since) == (528, 599)
    history, answers = np.concatenate([OLD, seen]), np.concatenate([OLD_LABELS, labels])
    second = train(whose, history, answers, first.model, since, 0, "drift")
    assert second.decision == "promoted"
    assert second.model is not None
    fresh, fresh_labels = generate(2_000, 2, 0.05, "concept", 1.0, seed=6)
    assert score("accuracy", fresh_labels, predict(second.model, whose, fresh)) > 0.93
    assert json.loads(json.dumps(state.to_dict()))["alarm"]["row"] == 528
