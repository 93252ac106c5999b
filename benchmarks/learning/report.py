"""The report in Markdown: streams with their peers, goals, what the loop does without drift, simulations, memory."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from benchmarks.goals.goal import Goal, markdown
from benchmarks.learning.forgetting import Memory
from benchmarks.learning.ours import US
from benchmarks.learning.played import CHUNK, WARM, Played
from benchmarks.learning.simulate import Figure

LR, HGB, RF, HGB_R = (
    "LogisticRegression",
    "HistGradientBoostingClassifier",
    "RandomForestClassifier",
    "HistGradientBoostingRegressor",
)
STREAM_GOALS: Final = {  # (stream, estimator): accuracy in % or MAE, attempts
    ("elec2", LR): (74.5, 80),
    ("elec2", HGB): (75.5, 80),
    ("elec2", RF): (77.2, 90),
    ("occupancy", LR): (97.0, 20),
    ("bike_reg", HGB_R): (50.0, None),
    ("recurring", LR): (86.0, 25),
}
SHUFFLED_ALARMS: Final = 3
BWT: Final = -6.0


@dataclass(frozen=True, slots=True)
class Result:
    """One run over one stream."""

    stream: str
    rows: int
    regression: bool
    played: Played

    @property
    def value(self) -> float:
        """Accuracy in per cent, or MAE."""
        return self.played.mean if self.regression else 100 * self.played.mean

    @property
    def shown(self) -> str:
        """The value, with its unit."""
        return f"{self.value:,.3g}" if self.regression else f"{self.value:.1f} %"


@dataclass(slots=True)
class Report:
    """What has been measured so far; it can be told at any time."""

    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])
    whole: bool = True
    results: list[Result] = field(default_factory=list)
    shuffled: list[Result] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    memories: list[Memory] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """The whole of it."""
        parts = [self._machine()]
        if self.results:
            parts += [
                "## Streams",
                self._streams(),
                *(f"![{name}: accuracy or error over the rows]({name}.svg)" for name in self.plots),
            ]
        if goals := self.goals():
            parts += ["## Goals", markdown(goals)]
        if self.shuffled:
            parts += ["## Without drift", _shuffled(self.shuffled)]
        if self.figures:
            parts += ["## The detector's promises, simulated", _figures(self.figures)]
        if self.memories:
            parts += ["## What is kept of old tasks", _memories(self.memories)]
        return "\n\n".join(parts) + "\n"

    def goals(self) -> list[Goal]:
        """Those of which something was measured; a part of a stream answers none."""
        found = [goal for result in self.results if (goal := _stream_goal(result))] if self.whole else []
        if self.shuffled:
            alarms, rows = sum(each.played.alarms for each in self.shuffled), sum(each.rows for each in self.shuffled)
            what = f"{len(self.shuffled)} shuffled runs, {rows:,} rows"
            found.append(Goal(what, f"≤ {SHUFFLED_ALARMS} alarms", f"{alarms}", alarms <= SHUFFLED_ALARMS))
        found += [Goal(each.what, each.wanted, each.value, each.reached) for each in self.figures]
        for memory in self.memories[1:]:
            found.append(Goal(f"split digits, {memory.who}", f"BWT ≥ {BWT:g}", f"{memory.bwt:.1f}", memory.bwt >= BWT))
        return found

    def _machine(self) -> str:
        took = (datetime.now(UTC) - self.began).total_seconds() / 60
        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
        load = f"load average {self.load_before:.1f} before, {os.getloadavg()[0]:.1f} now"
        return (
            f"{self.began:%Y-%m-%d %H:%M} UTC, {took:.0f} min on {machine}, {load}. The first {WARM:,} rows are learnt from; "
            f"then each chunk of {CHUNK} rows is predicted before any of its labels is known. Accuracy or mean absolute error is "
            "over all rows after the warm-up; attempts are trainings, the first one included; seconds are of one core: those of "
            "fitting, and for Continual ML also those of checks, comparisons, files and ledger."
        )

    def _streams(self) -> str:
        rows = [
            f"| {each.stream} | {each.played.estimator} | {each.played.who} | {each.shown} | {each.played.attempts or '–'} "
            f"| {each.played.alarms or '–'} | {each.played.seconds:.1f} |"
            for each in self.results
        ]
        head = "| stream | model | rule | accuracy / MAE | attempts | alarms | training, CPU s |"
        return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


def _stream_goal(result: Result) -> Goal | None:
    wanted = STREAM_GOALS.get((result.stream, result.played.estimator))
    if wanted is None or result.played.who != US:
        return None
    value, most = wanted
    good = result.value <= value if result.regression else result.value >= value
    sign, unit = ("≤", " MAE") if result.regression else ("≥", " %")
    attempts = "" if most is None else f" with ≤ {most} attempts"
    return Goal(
        f"{result.stream}, {result.played.estimator}",
        f"{sign} {value:g}{unit}{attempts}",
        f"{result.shown} with {result.played.attempts}",
        good and (most is None or result.played.attempts <= most),
    )


def _shuffled(results: Sequence[Result]) -> str:
    rows = [
        f"| {each.stream} | {each.rows:,} | {each.shown} | {each.played.attempts} | {each.played.alarms} |" for each in results
    ]
    return "\n".join(["| shuffled stream | rows | accuracy / MAE | attempts | alarms |", "|---|---|---|---|---|", *rows])


def _figures(figures: Sequence[Figure]) -> str:
    rows = [f"| {each.what} | {each.runs} | {each.value} | {each.wanted} |" for each in figures]
    return "\n".join(["| what | runs | result (95 % interval) | goal |", "|---|---|---|---|", *rows])


def _memories(memories: Sequence[Memory]) -> str:
    rows = [f"| {each.who} | {each.acc:.1f} | {each.bwt:+.1f} |" for each in memories]
    return "\n".join(["| split digits, HistGradientBoosting | ACC, % | BWT, points |", "|---|---|---|", *rows])
