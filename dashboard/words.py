"""Numbers with their units, moments with their zone, decisions in words."""

from __future__ import annotations

import html
from datetime import UTC, datetime, tzinfo
from typing import Any

from continual.commands.words import number

SUCCESS, FAILURE, WARNING, DRIFT, INFO = "#2ECC71", "#E74C3C", "#F1C40F", "#E67E22", "#3498DB"
COLOUR = {"success": SUCCESS, "failure": FAILURE, "warning": WARNING, "drift": DRIFT, "info": INFO}
MARK = {"success": "✓", "failure": "✕", "warning": "!", "drift": "▲", "info": "i"}
# a job's or a model's state as the kind of notification that has its colour
KIND_OF = {
    "succeeded": "success", "failed": "failure", "dead": "failure", "cancelled": "warning", "running": "info", "queued": "info",
    "healthy": "success", "drifting": "drift", "retraining": "drift", "no_model": "info", "ok": "success", "down": "failure",
}  # fmt: skip
EVENTS = {
    "alarm": ("▲", DRIFT),
    "training": ("↻", INFO),
    "promotion": ("★", SUCCESS),
    "rejection": ("✕", WARNING),
    "rollback": ("↩", FAILURE),
}
ACTIONS = {
    "train": ("training", "Training"),
    "promote": ("promotion", "Promotion"),
    "reject": ("rejection", "Rejection"),
    "rollback": ("rollback", "Rollback"),
}
ERRORS = {"mae", "rmse", "log_loss"}  # metrics of which less is better


def seconds(value: float | None) -> str:
    """A duration: `340 ms`, `3 s`, `5.2 s`, `3 min`, `4.5 h`, `2 days`; – if it is not known."""
    if value is None:
        return "–"
    if value < 1:
        return f"{value * 1000:.0f} ms" if value > 0 else "0 s"
    for unit, size, most in (("s", 1.0, 120.0), ("min", 60.0, 7200.0), ("h", 3600.0, 172_800.0)):
        if value < most:
            shown = value / size
            digits = 1 if shown < 10 and unit != "min" else 0
            return f"{shown:.{digits}f}".removesuffix(".0") + f" {unit}"
    return f"{value / 86_400:.0f} days"


def figure(value: float | None, digits: int = 3) -> str:
    """A metric's value: `0.953`, `1,204`, `4.2e-05`; – if it is not known."""
    large = value is not None and 1_000 <= abs(value) < 1e9
    return number(value, 0 if large else digits)


def count(number: int, noun: str) -> str:
    """`1 job`, `2,000 jobs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def local(at: datetime, zone: tzinfo, now: datetime | None = None) -> str:
    """A moment in the reader's own time, with its day unless that is today, and its year unless it is this one."""
    there, today = at.astimezone(zone), (now or datetime.now(UTC)).astimezone(zone).date()
    if there.date() == today:
        return f"{there:%H:%M:%S}"
    return f"{there:%d %b, %H:%M}" if there.year == today.year else f"{there:%d %b %Y, %H:%M}"


def utc(at: datetime) -> str:
    """The same moment for those elsewhere: what hovering shows."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def moment(at: datetime | None, zone: tzinfo) -> str:
    """A moment as HTML: the reader's time, UTC on hover."""
    if at is None:
        return "never"
    return f'<time datetime="{at.astimezone(UTC).isoformat()}" title="{utc(at)}">{local(at, zone)}</time>'


def chip(kind: str, text: str, title: str = "") -> str:
    """A mark in a notification's colour, and words beside it, as HTML."""
    hover = f' title="{html.escape(title, quote=True)}"' if title else ""
    mark = f'<span class="mark {kind}" aria-hidden="true">{MARK[kind]}</span>'
    return f'<span class="chip"{hover}>{mark}{html.escape(text)}</span>'


def plain(text: Any) -> str:
    """Text that is somebody else's, for HTML."""
    return html.escape(str(text))


def unmarked(text: Any) -> str:
    """Text that is somebody else's, where Streamlit would read Markdown: every sign of it is escaped."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]()#+-.!|<>~$:@&^=\"'" else sign for sign in " ".join(str(text).split()))


def is_good(metric: str, value: float, threshold: float) -> bool:
    """Whether a performance keeps its threshold: a floor, or for an error metric a ceiling."""
    return value <= threshold if metric in ERRORS else value >= threshold


def bound(metric: str) -> str:
    """What the threshold is."""
    return "ceiling" if metric in ERRORS else "floor"
