"""Which labels a task can have."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Final

from problems.declaration import Problem

Label = bool | int | float | str


WHOLE: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)
NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
TRUTHS: Final = {"true": True, "false": False, "1": True, "0": False}


class InvalidLabel(ValueError):
    """A label that the problem's task cannot have; the text says what was expected."""


def parse_label(problem: Problem, value: object, classes: Sequence[Label] = ()) -> Label:
    """The label in the type it is taught with: 1.0 is the class 1 where that is known.

    Args:
        problem: whose task decides.
        value: as it came in JSON or from a table.
        classes: those known so far. A binary task has no third; a multiclass one may meet new ones.

    Raises:
        InvalidLabel: not a label of this task.
    """
    if problem.task == "regression":
        if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
            raise InvalidLabel("expected a finite number")
        return float(value)
    if not isinstance(value, bool | int | float | str) or not _class(value):
        raise InvalidLabel("expected text, a whole number, true or false")
    for known in classes:
        if known == value and isinstance(known, bool) == isinstance(value, bool):
            return known
    if problem.task == "binary" and len(classes) >= 2:
        raise InvalidLabel(f"expected {' or '.join(map(repr, classes[:2]))}")
    if classes and _kind(classes[0]) != _kind(value):
        raise InvalidLabel(f"expected {_kind(classes[0])}, as {classes[0]!r}")
    return int(value) if isinstance(value, float) else value


def parse_cell(problem: Problem, text: str, classes: Sequence[Label] = ()) -> Label:
    """The label that the text of a table's cell means: a number, a truth or text, as the task's labels are.

    Raises:
        InvalidLabel: as `parse_label`.
    """
    text = text.strip()
    if problem.task == "regression" or (classes and _kind(classes[0]) == "a whole number"):
        return parse_label(problem, _number(text), classes)
    if classes and isinstance(classes[0], bool):
        return parse_label(problem, TRUTHS.get(text.lower(), text), classes)
    return parse_label(problem, text, classes)


def _number(text: str) -> float | str:
    if WHOLE.fullmatch(text):
        return int(text)
    return float(text) if NUMBER.fullmatch(text) else text


def _finite(value: float) -> bool:
    return abs(value) <= sys.float_info.max  # also false for nan, and exact for whole numbers of any length


def _class(value: Label) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= 256
    return _finite(value) and abs(value) < 2**63 and value == int(value)


def _kind(value: Label) -> str:
    return {bool: "true or false", str: "text"}.get(type(value), "a whole number")
