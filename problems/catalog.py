"""Problem files: NAME.toml as the contract has it, or NAME.py with `declared = {…}` and `def estimator()`.

A .py file is read here without being run: `declared` must be a literal. Only workers execute the
file: once at start, to see whether its model can be stored, and when they train (`ml.estimators`).
"""

from __future__ import annotations

import ast
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Final

from problems.declaration import DECLARED, DEFAULT_THRESHOLD, InvalidProblem, Problem, parse_problem
from problems.loop import missing

BUILT_IN: Final = Path(__file__).with_name("default.toml")


class BrokenProblemFile(ValueError):
    """A problem file that cannot be used; the text is one sentence: file, fault, what was expected."""


def builtin(threshold: float = DEFAULT_THRESHOLD) -> Problem:
    """The built-in `default`: x1 and x2, logistic regression; `threshold` is its accuracy's floor, 0 to 1."""
    return _problem(BUILT_IN, threshold)


def read_here() -> list[Problem]:
    """The problems that a team has put beside the built-in one, as `problems/NAME.toml`.

    Raises:
        BrokenProblemFile: for the first file that cannot be used.
    """
    return [_problem(file) for file in sorted(BUILT_IN.parent.glob("[!._]*.toml")) if file != BUILT_IN]


def read_problems(directory: Path) -> list[Problem]:
    """The problems in the folder's .toml and .py files, by name; a leading _ or . hides a file.

    Raises:
        BrokenProblemFile: for the first file that cannot be used, or two files of one name.
    """
    if not directory.is_dir():
        raise BrokenProblemFile(f"{directory}: expected a folder of problem files (NAME.toml or NAME.py).")
    files = sorted(f for f in directory.iterdir() if f.suffix in (".toml", ".py") and f.name[0] not in "._")
    for one, other in pairwise(files):
        if one.stem == other.stem:
            raise BrokenProblemFile(f"{one}: expected one file per problem, but {other.name} is there as well.")
    return [_problem(file) for file in files]


def _problem(file: Path, threshold: float = DEFAULT_THRESHOLD) -> Problem:
    problem = _parsed(file, threshold)
    lacks = missing(problem.loop)
    if lacks:
        raise BrokenProblemFile(f"{file}: {lacks}.")
    return problem


def _parsed(file: Path, threshold: float) -> Problem:
    try:
        if file.suffix == ".toml":
            return parse_problem(file.stem, tomllib.loads(file.read_text("utf-8")), DECLARED, threshold)
        return parse_problem(file.stem, _literal(file), str(file.resolve()), threshold)
    except InvalidProblem as wrong:
        raise BrokenProblemFile(f"{file}: {wrong}.") from wrong
    except tomllib.TOMLDecodeError as wrong:
        raise BrokenProblemFile(f"{file}: {wrong}; expected TOML.") from wrong
    except UnicodeDecodeError as wrong:
        raise BrokenProblemFile(f"{file}: {wrong}; expected UTF-8 text.") from wrong


def _literal(file: Path) -> object:
    try:
        body = ast.parse(file.read_text("utf-8"), str(file)).body
    except (SyntaxError, ValueError) as wrong:
        raise BrokenProblemFile(f"{file}: {wrong}; expected Python.") from wrong
    if not any(isinstance(part, ast.FunctionDef) and part.name == "estimator" for part in body):
        raise BrokenProblemFile(f"{file}: no estimator; expected def estimator() that returns an unfitted one.")
    for part in body:
        targets = part.targets if isinstance(part, ast.Assign) else [part.target] if isinstance(part, ast.AnnAssign) else []
        if any(isinstance(target, ast.Name) and target.id == "declared" for target in targets):
            try:
                return ast.literal_eval(part.value)  # type: ignore[attr-defined]  # an assignment has a value
            except (ValueError, TypeError) as wrong:
                raise BrokenProblemFile(f"{file}: declared is not a literal; expected declared = {{…}}.") from wrong
    raise BrokenProblemFile(f'{file}: no declared; expected declared = {{"task": …, "features": …}}.')
