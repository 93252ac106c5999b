"""What happened in a stream, and how people are shown it: a few lines, and a plot for print."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Event = Literal["alarm", "retraining", "promotion"]

ROLLING_ROWS = 1_000


@dataclass(slots=True)
class Story:
    """What happened.

    Attributes:
        scores: one for each labelled row, in order: 1 or 0, or an absolute error.
        events: (rows scored by then, what happened).
        decisions: of the trainings that ended well: "promoted" or "rejected".
        failures: one line for each job that failed or died.
    """

    scores: list[float] = field(default_factory=list)
    events: list[tuple[int, Event]] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def count(self, event: Event) -> int:
        """How often it happened."""
        return sum(kind == event for _, kind in self.events)

    def mean(self, rows: int | None = None) -> float:
        """The mean score, of the newest `rows` or of all; nan before the first."""
        part = self.scores[-rows:] if rows else self.scores
        return sum(part) / len(part) if part else float("nan")


@dataclass(frozen=True, slots=True)
class Measure:
    """How scores are told: accuracy in per cent, or a mean absolute error; and the threshold, if it is of the same."""

    name: str
    scale: float
    unit: str
    threshold: float | None

    @classmethod
    def of(cls, model: dict[str, Any]) -> Measure:
        """A model's: MAE for a regression, else accuracy."""
        metric, threshold = model["settings"]["metric"], model["settings"]["threshold"]
        if model["schema"]["task"] == "regression":
            return cls("MAE", 1.0, "", threshold if metric == "mae" else None)
        return cls("accuracy", 100.0, " %", 100.0 * threshold if metric == "accuracy" else None)

    def text(self, mean: float) -> str:
        """A mean score, for people."""
        return f"{self.scale * mean:.2f}{self.unit}"


def report(name: str, story: Story, measure: Measure, seconds: float) -> str:
    """The stream in a few lines."""
    promoted = story.decisions.count("promoted")
    ended = f"{promoted} promoted, {len(story.decisions) - promoted} rejected; the first one counts"
    newest = f"last {ROLLING_ROWS:,} rows {measure.text(story.mean(ROLLING_ROWS))}"
    facts = {
        measure.name: f"{measure.text(story.mean())}  ({newest})",
        "alarms": story.count("alarm"),
        "trainings": f"{story.count('retraining')}  ({ended})",
        "failed jobs": len(story.failures),
    }
    lines = [f"{name}: {len(story.scores):,} rows predicted and labelled in {seconds:.0f} s"]
    lines += [f"  {fact:<12} {value}" for fact, value in facts.items()]
    return "\n".join([*lines, *(f"    {line}" for line in story.failures)])


def plot(story: Story, measure: Measure, title: str, target: Path) -> None:
    """The rolling metric over the rows as a PNG; below it a lane each for alarms, retrainings and promotions.

    Raises:
        ImportError: matplotlib is missing.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (curve, lanes) = plt.subplots(2, 1, sharex=True, figsize=(10, 5), height_ratios=(4, 1), layout="constrained", dpi=160)
    curve.plot(*_rolling(story.scores, measure.scale), color="black", linewidth=1.3, label=f"last {ROLLING_ROWS:,} rows")
    if measure.threshold is not None:
        told = f"threshold {measure.threshold:g}{measure.unit}"
        curve.axhline(measure.threshold, color="0.45", linestyle="--", linewidth=1, label=told)
    _draw_events(curve, lanes, story)
    curve.set_title(f"{title}: {measure.name} {measure.text(story.mean())} over {len(story.scores):,} rows", loc="left")
    curve.set_ylabel(f"{measure.name}{measure.unit}")
    curve.legend(loc="best", frameon=False)
    lanes.set_xlabel("labelled rows")
    lanes.xaxis.set_major_formatter("{x:,.0f}")
    for axes in (curve, lanes):
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
    figure.savefig(target)
    plt.close(figure)


def _rolling(scores: list[float], scale: float) -> tuple[list[int], list[float]]:
    """After each row from the fiftieth on: the mean of the newest thousand, or of all there are."""
    sums = [0.0]
    for score in scores:
        sums.append(sums[-1] + score)
    places = list(range(min(50, len(scores)), len(sums)))
    starts = [max(0, at - ROLLING_ROWS) for at in places]
    return places, [scale * (sums[at] - sums[start]) / max(at - start, 1) for at, start in zip(places, starts, strict=True)]


def _draw_events(curve: Any, lanes: Any, story: Story) -> None:
    drawn: list[tuple[Event, str, str]] = [
        ("promotion", r"$★$", "tab:green"),
        ("retraining", r"$↻$", "tab:blue"),
        ("alarm", "^", "tab:red"),
    ]
    for lane, (event, marker, color) in enumerate(drawn):
        places = [row for row, kind in story.events if kind == event]
        lanes.scatter(places, [lane] * len(places), marker=marker, color=color, s=70, linewidths=0.4, clip_on=False)
        if event == "alarm":
            curve.vlines(places, 0, 1, transform=curve.get_xaxis_transform(), color=color, linewidth=0.8, alpha=0.45)
    lanes.set_yticks(range(len(drawn)), [f"{event}s" for event, _, _ in drawn])
    lanes.set_ylim(-0.6, len(drawn) - 0.4)
