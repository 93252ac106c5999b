"""One line of the table of goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """What was wanted, what was measured, and whether that is enough; None where there is nothing to compare."""

    what: str
    wanted: str
    measured: str
    reached: bool | None


def markdown(goals: Sequence[Goal]) -> str:
    """The goals as a table."""
    said = {True: "yes", False: "**no**", None: "–"}
    rows = [f"| {goal.what} | {goal.wanted} | {goal.measured} | {said[goal.reached]} |" for goal in goals]
    return "\n".join(["| what | goal | measured | reached |", "|---|---|---|---|", *rows])
