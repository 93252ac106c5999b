"""The bench of learning: tables declare themselves, our loop is the workers' own, and the report tells what was measured."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from benchmarks.learning import ours, peers, plots, streams
from benchmarks.learning.forgetting import Memory
from benchmarks.learning.played import Played
from benchmarks.learning.report import Report, Result
from benchmarks.learning.simulate import delay, median_interval, share_interval
from benchmarks.learning.streams import declare, of_folder
from ml.prediction import Prediction


def silent(_: Played) -> None:
    """Nobody watches."""


def test_a_table_declares_its_types_task_and_what_is_left_out() -> None:
    """Numbers, a boolean and a category with gaps; a time is no category; a label of many numbers is a value."""
    rows = 300
    frame = pd.DataFrame(
        {
            "ts": [f"2026-01-01 00:{n}" for n in range(rows)],
            "x": np.arange(rows, dtype=float),
            "gaps": [None if n % 7 == 0 else n for n in range(rows)],
            "kind": ["red" if n % 2 else None for n in range(rows)],
            "flag": [n % 3 == 0 for n in range(rows)],
            "scored": 0.5,
            "target": [n % 2 for n in range(rows)],
        }
    )
    (found,) = declare("t", frame, ["scored"], ["lr"])
    assert {f.name: f"{f.type}{'?' * f.optional}" for f in found.features} == {
        "x": "number",
        "gaps": "number?",
        "kind": "category?",
        "flag": "boolean",
    }
    assert (found.task, found.metric, found.label) == ("binary", "accuracy", "target")
    (valued,) = declare("t", frame.drop(columns="target"), [], ["hgb"])[0:1]
    assert (valued.task, valued.label) == ("multiclass", "scored")
    (regression,) = declare("t", frame.assign(target=np.arange(rows) * 0.5), ["scored"], ["hgb"])
    assert (regression.task, regression.metric) == ("regression", "mae")
    assert regression.threshold == pytest.approx(18.75)


def test_a_folder_is_read_with_the_products_own_reader_and_a_problem_beside_a_file_wins(tmp_path: Path) -> None:
    """A gzipped table without a word, and one with a NAME.toml; a folder without tables is refused."""
    data, scratch = tmp_path / "data", tmp_path / "scratch"
    data.mkdir()
    scratch.mkdir()
    with pytest.raises(ValueError, match="expected a folder with"):
        list(of_folder(data, scratch, [], ["lr"]))
    with gzip.open(data / "a.csv.gz", "wt") as file:
        file.write("x,target\n" + "".join(f"{n},{n % 2}\n" for n in range(50)) + "7,\n")
    (data / "b.csv").write_text("x,y,when\n1,a,q\n2,b,q\n")
    (data / "b.toml").write_text(
        'task = "binary"\nlabel = "y"\nmetric = "accuracy"\nthreshold = 0.7\nignore = ["when"]\n'
        'estimator = "sklearn.tree.DecisionTreeClassifier"\n[features]\nx = "number"\n'
    )
    one, other = of_folder(data, scratch, [], ["lr", "hgb"])
    assert (one.name, len(one), len(one.problems)) == ("a", 50, 2)  # the row without a label is left out
    assert [p.estimator for p in other.problems] == ["sklearn.tree.DecisionTreeClassifier"]
    assert other.truth.tolist() == ["a", "b"]
    assert (one.warm(10, 5), other.warm(1, 5)) == (10, 6)
    assert sorted(one.shuffled(1, 40, scratch).rows[:, 0].tolist()) != one.rows[:40, 0].tolist()
    assert len(one.first(20, scratch)) == 20


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> streams.Stream:
    """3,000 rows whose rule turns in the middle."""
    return streams.of_frame("sudden", streams.sudden(np.random.default_rng(1), 3_000), tmp_path_factory.mktemp("s"), ["lr"])


def test_our_loop_finds_the_change_and_never_retraining_does_not(turned: streams.Stream, tmp_path: Path) -> None:
    """The workers' own check and training, in step: one alarm, a promotion after it, and 20 points more than the first model."""
    (problem,) = turned.problems
    mine = ours.play(turned, problem, tmp_path, 1_000, 250, silent)
    never = peers.play(turned, problem, peers.NEVER, 1_000, 250, silent)
    assert mine.rows == never.rows == 2_000
    assert (mine.alarms, never.attempts) == (1, 1)
    assert mine.mean > never.mean + 0.2
    kinds = [kind for row, kind in mine.events if row > 500]  # at 500 history has grown by half
    assert kinds[:3] == ["retraining", "alarm", "promotion"]
    report = Report(results=[Result("sudden", len(turned), False, each) for each in (mine, never)])
    assert f"| sudden | LogisticRegression | Continual ML | {100 * mine.mean:.1f} % | {mine.attempts} | 1 |" in report.markdown()
    plots.draw("sudden", [mine, never], False, tmp_path / "sudden.svg")
    assert "Continual ML" in (tmp_path / "sudden.svg").read_text()


def test_the_plain_rule_trains_where_a_chunk_is_below_the_threshold(turned: streams.Stream) -> None:
    """After the turn every chunk is, until the newest rows outnumber the old; one attempt for each alarm, and the first."""
    played = peers.play(turned, turned.problems[0], peers.PLAIN, 1_000, 250, silent)
    assert played.alarms >= 3
    assert played.attempts == played.alarms + 1


def test_rivers_forest_sees_each_chunk_before_its_labels(tmp_path: Path) -> None:
    """The chunk in which the rule turns is predicted by the old one."""
    short = streams.of_frame("short", streams.sudden(np.random.default_rng(1), 800), tmp_path, ["lr"])
    played = peers.arf(short, 300, 100, silent)
    assert played.rows == 500
    assert played.scores[0].mean() > 0.75
    assert played.scores[1].mean() < 0.65


def test_goals_are_of_what_was_measured() -> None:
    """Accuracy and attempts of a named stream together; the second row of the memory table and the third."""
    good = Played(ours.US, "LogisticRegression", [np.ones(10)], attempts=12)
    often = Played(ours.US, "LogisticRegression", [np.ones(10)], attempts=81)
    report = Report(results=[Result("occupancy", 10, False, good), Result("elec2", 10, False, often)])
    report.memories = [Memory(str(n), np.array([[90.0, 0.0], [kept, 90.0]])) for n, kept in enumerate((0.0, 85.0, 80.0))]
    assert [goal.reached for goal in report.goals()] == [True, False, True, False]
    assert (report.memories[1].acc, report.memories[1].bwt) == (87.5, -5.0)
    report.whole = False
    assert len(report.goals()) == 2  # a part of a stream answers none of its goals


def test_intervals_are_those_of_the_textbook() -> None:
    """Clopper and Pearson for no hit in 20; order statistics 40 and 61 of 100 for the median."""
    assert share_interval(0, 20) == pytest.approx((0.0, 0.1684), abs=1e-4)
    assert share_interval(20, 20)[1] == 1.0
    ordered: NDArray[np.float64] = np.arange(1.0, 101.0)
    assert median_interval(ordered) == (40.0, 61.0)


def test_a_simulated_delay_is_the_detectors() -> None:
    """Twenty runs: error .12 to .30 is seen in some two hundred rows, and the goal is judged by the median."""
    figure = delay(0.30, 200, 20)
    assert figure.runs == 20
    assert figure.reached == (float(figure.value.split()[1]) <= 200)


def test_a_score_is_a_hit_or_a_distance() -> None:
    """By what was said: classes with probabilities, or values."""
    played = Played("", "")
    played.see(np.array(["a", "b"]), Prediction(np.array(["a", "a"]), np.ones((2, 1)), ("a",)))
    played.see(np.array([1.0, 2.0]), Prediction(np.array([1.5, 0.0])))
    assert np.concatenate(played.scores).tolist() == [1.0, 0.0, 0.5, 2.0]
