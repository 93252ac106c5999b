"""The tables of the fault suite, in Markdown: a line a trial as they come, and at the end a line a fault and system."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from benchmarks.chaos.judge import Row

HEAD = (
    "| fault | system | accepted | rejected | lost | false failures | recorded twice | executed twice | slowest POST, s "
    "| all done, s after the fault | load | kept | notes |\n" + "|---" * 13 + "|"
)
SUM_HEAD = (
    "| fault | system | trials | accepted | rejected | lost | false failures | recorded twice | executed twice "
    "| slowest POST, s | all done, s |\n" + "|---" * 11 + "|"
)


def line(row: Row) -> str:
    """One trial."""
    return _cells(
        row.fault, row.system, row.accepted, row.rejected, row.lost, row.false_failures, row.recorded_twice, row.executed_twice,
        f"{row.slowest_post_s:.2f}", f"{row.done_s:.0f}", f"{row.load:.1f}", "yes" if row.kept else "NO", "; ".join(row.notes),
    )  # fmt: skip


def summary(rows: Sequence[Row], titles: dict[str, str]) -> str:
    """All trials of a fault on a system in one line: sums, and the worst of the times."""

    def key(row: Row) -> tuple[str, str]:
        return row.fault, row.system

    order = list(dict.fromkeys(map(key, rows)))
    groups = [list(group) for _, group in groupby(sorted(rows, key=lambda row: order.index(key(row))), key)]
    return "\n".join([SUM_HEAD, *(_sum(group, titles) for group in groups)])


def _sum(rows: Sequence[Row], titles: dict[str, str]) -> str:
    first, counts = rows[0], ("accepted", "rejected", "lost", "false_failures", "recorded_twice", "executed_twice")
    return _cells(
        f"{first.fault}: {titles.get(first.fault, first.fault)}",
        first.system,
        len(rows),
        *(sum(getattr(row, name) for row in rows) for name in counts),
        f"{max(row.slowest_post_s for row in rows):.2f}",
        f"{max(row.done_s for row in rows):.0f}",
    )


def _cells(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
