"""How things are said: tables, times, numbers, a line of bars."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

BARS = "▁▂▃▄▅▆▇█"


def table(head: Sequence[str], rows: Sequence[Sequence[object]], none: str) -> str:
    """Columns side by side; `none` says what fills an empty list."""
    if not rows:
        return none
    cells = [list(head), *([_cell(each) for each in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return moment(value)
    return f"{value:,}" if isinstance(value, int) else " ".join(str(value).split())


def moment(at: datetime | None) -> str:
    """A time as the reader's own clock shows it."""
    if at is None:
        return "never"
    here = at.astimezone()
    today = here.date() == datetime.now().astimezone().date()
    return here.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


def until(at: datetime) -> str:
    """How long from now; `now` if that has passed."""
    seconds = (at - datetime.now(UTC)).total_seconds()
    return f"in {seconds:.0f} s" if seconds >= 1 else "now"


def number(value: float | None, digits: int = 2) -> str:
    """A number as people read it: so many decimals, or digits where those would be all zeros or no end."""
    if value and digits and not 0.01 <= abs(value) < 1e9:
        return f"{value:.{digits}g}"
    return "–" if value is None else f"{value:,.{digits}f}"


def sparkline(values: Sequence[float]) -> str:
    """A line of bars from the lowest to the highest value."""
    if not values:
        return ""
    low, high = min(values), max(values)
    return "".join(BARS[round((value - low) / (high - low) * (len(BARS) - 1)) if high > low else 4] for value in values)
