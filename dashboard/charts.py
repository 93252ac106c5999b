"""Pictures: a model's life with what happened to it, its evidence against the limit, its inputs, and generated rows."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any

import altair as alt
import pandas as pd

from continual.answers import Event, Feature, Timeline
from dashboard import words

HEIGHT = 250
LANES = {
    "alarm": 10,
    "training": 26,
    "promotion": 42,
    "rejection": 58,
    "rollback": 58,
}  # pixels from the top, so that none hides another
GREY = "#7d8894"
DAY_S = 86_400.0
FORMS = ((900.0, "%H:%M:%S"), (DAY_S, "%H:%M"), (5 * DAY_S, "%d %b %H:%M"), (math.inf, "%d %b"))  # of time, by what is shown
BLUE, ORANGE = words.INFO, words.DRIFT


def life(timeline: Timeline, zone: tzinfo) -> alt.LayerChart:
    """Performance over time, a line for each version, with the threshold and the events."""
    points = _points(timeline, zone)
    events = _events(timeline.events, zone)
    low, high = _range(pd.concat([points["performance"], points["recent"]]), timeline.threshold)
    x = _time(points)
    # the room above the best there can be is for the signs, and has no figures
    axis = alt.Axis(labelExpr="datum.value > 1 ? '' : datum.label") if timeline.metric not in words.ERRORS else alt.Axis()
    y = alt.Y("performance:Q", title=timeline.metric, axis=axis, scale=alt.Scale(domain=[low, high], nice=False, zero=False))
    seen = ["there:N", "utc:N", "version:N", alt.Tooltip("performance:Q", format=".3f"), "labels:Q"]
    line = alt.Chart(points).mark_line(color=BLUE, strokeWidth=2.5).encode(x, y, detail="version:N")
    dots = alt.Chart(points).mark_point(color=BLUE, filled=True, size=26, opacity=0.9).encode(x, y, tooltip=seen)
    fresh = (
        alt.Chart(points).mark_line(color=GREY, strokeWidth=1, strokeDash=[2, 2]).encode(x, alt.Y("recent:Q"), detail="version:N")
    )
    layers = [fresh, line, dots, *_threshold(timeline), *_marks(events, x)]
    return alt.LayerChart(layer=layers).properties(height=HEIGHT)


def _points(timeline: Timeline, zone: tzinfo) -> pd.DataFrame:
    columns = ["at", "there", "utc", "version", "performance", "recent", "labels", "evidence", "limit"]
    rows = [
        (
            _wall(point.at, zone),
            words.local(point.at, zone),
            words.utc(point.at),
            f"v{point.version}" if point.version else "none",
            point.performance,
            point.recent,
            point.labels_seen,
            max(point.statistic or 0.0, 1.0),
            point.limit,
        )
        for point in timeline.points
    ]
    return pd.DataFrame(rows, columns=columns)


def _events(events: Sequence[Event], zone: tzinfo) -> pd.DataFrame:
    columns = ["at", "there", "utc", "kind", "mark", "lane", "what"]
    rows = [
        (
            _wall(event.at, zone),
            words.local(event.at, zone),
            words.utc(event.at),
            event.kind,
            words.EVENTS[event.kind][0],
            LANES[event.kind],
            event.text,
        )
        for event in events
    ]
    return pd.DataFrame(rows, columns=columns)


def _wall(at: datetime, zone: tzinfo) -> datetime:
    """The reader's wall clock, told as a moment without a zone: what an axis shows is then what a clock there shows."""
    return at.astimezone(zone).replace(tzinfo=None)


def _time(points: pd.DataFrame) -> alt.X:
    """The axis of time: hours and minutes, with seconds where there are only some minutes, with days where there are some."""
    span = (points["at"].iloc[-1] - points["at"].iloc[0]).total_seconds()
    form = next(form for most, form in FORMS if span < most)
    return alt.X("at:T", title=None, axis=alt.Axis(format=form, labelOverlap=True, grid=False, tickCount=6))


def _range(values: pd.Series[Any], threshold: float) -> tuple[float, float]:
    """All values and the threshold, with room above for the signs."""
    known = [float(v) for v in values.dropna()] + [threshold]
    low, high = min(known), max(known)
    room = (high - low) or abs(high) * 0.1 or 1.0
    return low - 0.1 * room, high + 0.55 * room


def _threshold(timeline: Timeline) -> list[alt.Chart]:
    where = pd.DataFrame(
        {"performance": [timeline.threshold], "text": [f"{words.bound(timeline.metric)} {timeline.threshold:g}"]}
    )
    rule = alt.Chart(where).mark_rule(color=words.FAILURE, strokeDash=[6, 4]).encode(y="performance:Q")
    name = alt.Chart(where).mark_text(align="left", dx=4, dy=-7, color=GREY, fontSize=12)
    return [rule, name.encode(y="performance:Q", x=alt.value(0), text="text:N")]


def _marks(events: pd.DataFrame, x: alt.X) -> list[alt.Chart]:
    """A line down for each event and its sign in a lane of its kind, coloured as its notification."""
    colour = alt.Color(
        "kind:N",
        legend=None,
        scale=alt.Scale(domain=list(words.EVENTS), range=[colour for _, colour in words.EVENTS.values()]),
    )
    told = ["there:N", "utc:N", "kind:N", "what:N"]
    rules = alt.Chart(events).mark_rule(strokeWidth=1, opacity=0.55).encode(x, color=colour, tooltip=told)
    signs = alt.Chart(events).mark_text(fontSize=17, fontWeight="bold")
    y = alt.Y("lane:Q", scale=None, axis=None)
    return [rules, signs.encode(x, y, text="mark:N", color=colour, tooltip=told)]


def evidence(timeline: Timeline, zone: tzinfo) -> alt.LayerChart:
    """The detector's evidence against its limit, on a logarithmic scale."""
    points = _points(timeline, zone)
    x = _time(points)
    y = alt.Y("evidence:Q", title="evidence", scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=4, format="~s"))
    told = ["there:N", "utc:N", alt.Tooltip("evidence:Q", format=",.0f"), alt.Tooltip("limit:Q", format=",.0f")]
    area = alt.Chart(points).mark_line(color=ORANGE, strokeWidth=2, interpolate="step-after").encode(x, y, tooltip=told)
    limit = alt.Chart(points).mark_line(color=words.FAILURE, strokeDash=[6, 4]).encode(x, alt.Y("limit:Q"))
    return alt.LayerChart(layer=[area, limit]).properties(height=130)


def inputs(feature: Feature) -> alt.Chart:
    """A feature's reference and its newest rows, as shares of each, in the same bins."""
    rows = [
        (place, label, sample, share)
        for sample, histogram in (("learnt from", feature.reference), ("newest rows", feature.current))
        if histogram
        for place, (label, share) in enumerate(_bars(histogram))
    ]
    bars = pd.DataFrame(rows, columns=["place", "bin", "rows", "share"])
    many = any("edges" in histogram for histogram in (feature.reference, feature.current) if histogram)
    axis = alt.Axis(labelOverlap=True, labelAngle=0 if many else -30, tickCount=6)
    scale = alt.Scale(domain=["learnt from", "newest rows"], range=[BLUE, ORANGE])
    chart: alt.Chart = (
        alt.Chart(bars)
        .mark_bar(opacity=0.75)
        .encode(
            x=alt.X("bin:N", sort=alt.EncodingSortField("place"), title=None, axis=axis),
            xOffset="rows:N",
            y=alt.Y("share:Q", title="share of rows", axis=alt.Axis(format="%", tickCount=4)),
            color=alt.Color("rows:N", scale=scale, legend=alt.Legend(orient="top", title=None)),
            tooltip=["bin:N", "rows:N", alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(height=190)
    )
    return chart


def _bars(histogram: dict[str, Any]) -> list[tuple[str, float]]:
    """Each bin's name and share; missing values and other kinds come last, if there are any."""
    edges, kinds = histogram.get("edges"), histogram.get("kinds")
    rest = ("missing", histogram.get("missing", 0)) if kinds is None else ("others", histogram.get("others", 0))
    counts = list(histogram["counts"])
    if kinds is None:
        names = [f"< {edges[0]:.3g}", *(f"{edge:.3g}" for edge in edges)] if edges else ["any"]
    else:
        names = [str(kind) for kind in kinds]
    total = sum(counts) + rest[1] or 1
    named = [*zip(names, counts, strict=False), *([rest] if rest[1] else [])]
    return [(name, number / total) for name, number in named]


def scatter(rows: pd.DataFrame, x: str, y: str, label: str) -> alt.Chart:
    """Labelled rows on two features; the label is told by colour and by shape."""
    shown = pd.DataFrame({"x": rows[x], "y": rows[y], "label": rows[label].astype(str)})
    classes = sorted(shown["label"].unique())
    chart: alt.Chart = (
        alt.Chart(shown)
        .mark_point(filled=True, size=32, opacity=0.75)
        .encode(
            x=alt.X("x:Q", title=x, scale=alt.Scale(domain=[-4.5, 3.5], clamp=True)),
            y=alt.Y("y:Q", title=y, scale=alt.Scale(domain=[-3.5, 3.5], clamp=True)),
            color=alt.Color("label:N", title=label, scale=alt.Scale(domain=classes, range=[BLUE, ORANGE])),
            shape=alt.Shape("label:N", title=label, scale=alt.Scale(domain=classes, range=["circle", "triangle-up"])),
            tooltip=["x", "y", "label"],
        )
        .properties(height=330)
        .configure_legend(orient="top")
    )
    return chart


def drawn(count: int, noise: float, drift: str, strength: float, seed: int = 7) -> pd.DataFrame:
    """Rows as POST /generate draws them for two features, to look at before asking for any; nothing is stored.

    `covariate` moves x1 by -1.5 strength; `concept` turns the line that divides the labels by strength x 90 degrees.
    """
    chance = random.Random(seed)  # noqa: S311 - a picture
    moved = 1.5 * strength if drift == "covariate" else 0.0
    angle = math.radians(45.0 - (90.0 * strength if drift == "concept" else 0.0))
    rows = []
    for _ in range(count):
        x1, x2 = chance.gauss(0.0, 1.0) - moved, chance.gauss(0.0, 1.0)
        positive = x1 * math.cos(angle) + x2 * math.sin(angle) > 0
        rows.append((x1, x2, int(positive != (chance.random() < noise))))
    return pd.DataFrame(rows, columns=["x1", "x2", "label"])
