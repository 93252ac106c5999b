"""Problem files: TOML and Python, and one clear sentence for a broken one."""

from __future__ import annotations

from pathlib import Path

import pytest

from problems import catalog
from problems.catalog import BrokenProblemFile, builtin, read_here, read_problems

TOML = """
task = "regression"
label = "count"
metric = "mae"
threshold = 50
estimator = "sklearn.linear_model.Ridge"
[features]
temp = "number"
"""
PYTHON = """
raise RuntimeError("problem files are not run when they are listed")
declared = {"task": "binary", "label": "y", "metric": "accuracy", "features": {"a": "number"}}
def estimator():
    return None
"""


def test_the_built_in_problem_is_linear() -> None:
    """x1 and x2, logistic regression, and the threshold of the setting."""
    problem = builtin(0.83)
    assert (problem.name, problem.threshold, problem.plain) == ("default", 0.83, True)
    assert [f.name for f in problem.features] == ["x1", "x2"]


def test_a_folder_of_files_is_a_list_of_problems(tmp_path: Path) -> None:
    """TOML and Python files count, others and hidden ones do not; Python is read without being run."""
    (tmp_path / "bike.toml").write_text(TOML)
    (tmp_path / "own.py").write_text(PYTHON)
    (tmp_path / "_helper.py").write_text("raise SystemExit")
    (tmp_path / "notes.md").write_text("#")
    bike, own = read_problems(tmp_path)
    assert (bike.name, bike.threshold) == ("bike", 50.0)
    assert (own.estimator, own.source) == ("own.py:estimator", str((tmp_path / "own.py").resolve()))


def test_a_toml_file_beside_the_built_in_problem_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in one itself, and the code that lives there, are none."""
    monkeypatch.setattr(catalog, "BUILT_IN", tmp_path / "default.toml")
    for name, text in (("default.toml", TOML), ("bike.toml", TOML), ("_old.toml", ""), ("code.py", "")):
        (tmp_path / name).write_text(text)
    assert [each.name for each in read_here()] == ["bike"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.toml", "task = ", "expected TOML"),
        ("a.toml", TOML.replace("mae", "accuracy"), "not a metric of a regression task"),
        ("a.py", "def (", "expected Python"),
        ("a.py", "declared = {}", "no estimator"),
        ("a.py", "def estimator(): ...", "no declared"),
        ("a.py", "declared = make()\ndef estimator(): ...", "not a literal"),
        ("a b.toml", TOML, "name"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, name: str, text: str, said: str) -> None:
    """It names the file, what is wrong and what was expected."""
    (tmp_path / name).write_text(text)
    with pytest.raises(BrokenProblemFile, match=said) as broken:
        read_problems(tmp_path)
    assert name in str(broken.value)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """One model has one declaration."""
    (tmp_path / "own.toml").write_text(TOML)
    (tmp_path / "own.py").write_text(PYTHON)
    with pytest.raises(BrokenProblemFile, match="one file per problem"):
        read_problems(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A misspelt PROBLEMS_DIR is not an empty one."""
    with pytest.raises(BrokenProblemFile, match="expected a folder"):
        read_problems(tmp_path / "nope")


def test_a_detector_that_is_not_installed_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`adwin` without river: one sentence that names the file and what to install."""
    (tmp_path / "bike.toml").write_text('detector = "adwin"\n' + TOML)
    monkeypatch.setattr("problems.loop.find_spec", lambda name: None)
    with pytest.raises(BrokenProblemFile, match=r"bike\.toml: .* needs river, which is not installed: uv sync"):
        read_problems(tmp_path)
