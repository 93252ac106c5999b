"""The picture that a message carries: a model's performance over time, and what happened to it on the way."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from notify.message import COLOURS

Happened = Literal["alarm", "training", "promotion", "rollback"]
SIZE_IN, DPI = (6.4, 2.8), 100
PAPER, INK, GRID = "#ffffff", "#3c4048", "#e3e5e8"
# the mark of each event, with the colour of the message that tells of it; never told apart by colour alone
MARKS: dict[Happened, tuple[str, int]] = {
    "alarm": ("▲", COLOURS["drift"]),
    "training": ("↻", COLOURS["info"]),
    "promotion": ("★", COLOURS["success"]),
    "rollback": ("↩", COLOURS["failure"]),
}


@dataclass(frozen=True, slots=True)
class Course:
    """What became of a model.

    Attributes:
        metric: the name of what is shown.
        threshold: its floor (or ceiling), in the metric's unit.
        points: pairs of epoch seconds and the metric, oldest first, at least two.
        events: what happened at which epoch second, oldest first.
    """

    metric: str
    threshold: float
    points: Sequence[tuple[float, float]]
    events: Sequence[tuple[float, Happened]]


def draw(course: Course) -> bytes:
    """A PNG of 640 x 280 pixels: the metric as a line, the threshold dashed, events as marks on the line; times are UTC.

    Raises:
        ValueError: fewer than two points.
    """
    if len(course.points) < 2:
        raise ValueError("a course of fewer than two points shows nothing")
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(SIZE_IN, DPI, facecolor=PAPER, layout="constrained")
    axes = figure.add_subplot(facecolor=PAPER)
    locator = AutoDateLocator(maxticks=6)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    moments, values = zip(*course.points, strict=True)
    axes.plot([_day(at) for at in moments], values, color=_hex(COLOURS["info"]), linewidth=1.6)
    axes.axhline(course.threshold, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    for at, happened in course.events:
        mark, colour = MARKS[happened]
        below = -11 if happened == "alarm" else 5  # points: the training that answers an alarm comes at the same moment
        place = (_day(at), float(np.interp(at, moments, values)))
        axes.annotate(mark, place, (0, below), textcoords="offset points", ha="center", va="center", size=13, color=_hex(colour))
    axes.set_ylabel(course.metric, color=INK)
    axes.margins(y=0.18)
    axes.grid(color=GRID, linewidth=0.6)
    axes.tick_params(colors=INK, labelsize=8)
    axes.spines[:].set_visible(False)
    figure.legend(handles=_key(course), loc="outside lower center", ncols=5, frameon=False, fontsize=8, labelcolor=INK)
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()


def _key(course: Course) -> list[object]:
    from matplotlib.lines import Line2D

    seen = {happened for _, happened in course.events}
    marks = [
        Line2D([], [], linestyle="", marker=f"${mark}$", markersize=9, color=_hex(colour), label=name)
        for name, (mark, colour) in MARKS.items()
        if name in seen
    ]
    dashed = Line2D([], [], color=INK, linewidth=0.8, linestyle=(0, (4, 3)), label=f"threshold {course.threshold:g}")
    return [dashed, *marks]


def _day(at: float) -> float:
    """Epoch seconds as matplotlib counts dates, in days."""
    return at / 86_400.0


def _hex(colour: int) -> str:
    return f"#{colour:06x}"
