"""Streams of every kind through the API and the workers, declared by a problem file alone."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from examples.stack import Refused
from tests.examples.conftest import Play, Played

X = np.random.default_rng(0).standard_normal((700, 2)).round(3)
SIDE = X.sum(axis=1) > 0


def stream(
    played: Played, folder: Path, task: str, rows: Sequence[Sequence[object]], features: str, name: str = "s"
) -> list[str]:
    """Write the CSV, whose last column is the label, declare the problem, and give the command's arguments."""
    (folder / "s.csv").write_text("\n".join(",".join(map(str, row)) for row in rows) + "\n")
    regression = task == "regression"
    metric = 'metric = "mae"\nthreshold = 1.0' if regression else 'metric = "accuracy"\nthreshold = 0.6'
    estimator = "Ridge" if regression else "LogisticRegression"
    problem = f'task = "{task}"\nlabel = "y"\n{metric}\nestimator = "sklearn.linear_model.{estimator}"\n[features]\n{features}\n'
    played.house.declare(name, **tomllib.loads(problem))
    return ["--model", name, "--warm", "200", "--chunk", "100"]


def plain(labels: Iterable[object]) -> list[Sequence[object]]:
    """Two numbers and a label."""
    return [("a", "b", "y"), *((x[0], x[1], label) for x, label in zip(X, labels, strict=False))]


NUMBERS = 'a = "number"\nb = "number"'


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.where(SIDE, "True", "False"), [False, True]),
        (np.where(SIDE, "gut", "schlecht"), ["gut", "schlecht"]),
        (np.where(SIDE, "1.0", "0.0"), [0, 1]),
    ],
    ids=["booleans", "words", "numbers"],
)
def test_labels_are_booleans_words_or_numbers(
    play: Play, played: Played, tmp_path: Path, labels: Sequence[object], classes: list[object]
) -> None:
    """They come back in the type they were taught with, and every row is scored as right or wrong."""
    asked = stream(played, tmp_path, "binary", plain(labels), NUMBERS)
    assert play(tmp_path / "s.csv", *asked) == 0
    assert played.house.model("s").classes == classes
    assert (played.house.model("s").performance or 0) > 0.9


def test_a_single_class_at_the_start_is_waited_out(
    play: Play, played: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """300 rows without the second class: chunks are learnt from until there is a version, then predicted."""
    labels = [int(side and row >= 300) for row, side in enumerate(SIDE)]
    assert play(tmp_path / "s.csv", *stream(played, tmp_path, "binary", plain(labels), NUMBERS)) == 0
    assert "300 rows predicted" in capsys.readouterr().out
    assert played.house.model("s").champion


def test_a_class_that_appears_later_is_learnt(play: Play, played: Played, tmp_path: Path) -> None:
    """A third word comes after 400 rows, in a region of its own; the version that serves in the end knows it."""
    late = (np.arange(700) >= 400) & (X[:, 0] > 0.5)
    labels = np.where(late, "new", np.where(SIDE, "up", "down"))
    assert play(tmp_path / "s.csv", *stream(played, tmp_path, "multiclass", plain(labels), NUMBERS)) == 0
    assert played.house.model("s").classes == ["down", "new", "up"]
    assert int(played.house.model("s").champion or 0) >= 2


def test_labels_that_are_all_equal_are_told_apart_from_too_few_rows(play: Play, played: Played, tmp_path: Path) -> None:
    """There is nothing to learn, which the command says in one sentence; likewise for ninety rows."""
    with pytest.raises(Refused, match="the file has ended, and s has no version yet: every label is 1"):
        play(tmp_path / "s.csv", *stream(played, tmp_path, "binary", plain([1] * 400), NUMBERS))
    asked = stream(played, tmp_path, "regression", plain(X[:90, 0]), NUMBERS, "few")
    with pytest.raises(Refused, match="few has no version yet: its rows are too few"):
        play(tmp_path / "s.csv", *asked, "--warm", "50")


def test_categories_booleans_and_missing_values_are_streamed(play: Play, played: Played, tmp_path: Path) -> None:
    """Empty cells where the problem allows them, an unseen category, a quoted comma."""
    kind = np.where(X[:, 1] > 0, '"red, dark"', np.where(np.arange(700) % 9 == 0, "", "blue"))
    kind[650:] = "never seen"
    number = [str(x) if row % 10 else "" for row, x in enumerate(X[:, 0])]
    rows = [("n", "k", "f", "y"), *zip(number, kind, np.where(SIDE, "true", "False"), SIDE.astype(int), strict=True)]
    features = 'n = "number?"\nk = "category?"\nf = "boolean"'
    assert play(tmp_path / "s.csv", *stream(played, tmp_path, "binary", rows, features)) == 0
    assert (played.house.model("s").performance or 0) > 0.95


def test_a_regression_is_streamed_and_its_constant_part_divides_by_nothing(play: Play, played: Played, tmp_path: Path) -> None:
    """The first 400 labels are all equal, so that the reference error is 0; then they follow the inputs."""
    labels = np.where(np.arange(700) < 400, 3.0, 3 + X[:, 0])
    asked = stream(played, tmp_path, "regression", plain(labels), NUMBERS)
    assert play(tmp_path / "s.csv", *asked) == 0
    assert int(played.house.model("s").champion or 0) >= 2
