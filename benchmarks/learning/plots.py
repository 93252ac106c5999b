"""One picture a stream: what each rule scores over the rows, and where ours was alarmed and retrained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("Agg")
mpl.rcParams["svg.hashsalt"] = "continual"  # the same figures give the same file

from matplotlib import pyplot as plt  # noqa: E402 - after the backend is chosen

from benchmarks.learning import peers  # noqa: E402
from benchmarks.learning.ours import US  # noqa: E402
from benchmarks.learning.played import Played  # noqa: E402

ROLLING: Final = 1_000  # rows that a point is the mean of
STEP: Final = 100  # rows from one point to the next
COLORS: Final = {US: "black", peers.NEVER: "tab:red", peers.ALWAYS: "tab:blue", peers.PLAIN: "tab:orange", peers.ARF: "tab:green"}


def draw(name: str, played: Sequence[Played], regression: bool, target: Path) -> None:
    """The rolling score of every rule as SVG; below it the rows where ours alarmed, retrained and promoted."""
    figure, (curve, lanes) = plt.subplots(2, 1, sharex=True, figsize=(9, 4.6), height_ratios=(5, 1), layout="constrained")
    scale = 1.0 if regression else 100.0
    for each in played:
        bold = each.who == US
        label = f"{each.who} ({scale * each.mean:.1f})"
        at, mean = _rolling(np.concatenate(each.scores))
        curve.plot(at, scale * mean, color=COLORS[each.who], linewidth=1.6 if bold else 0.9, zorder=3 if bold else 2, label=label)
    curve.set_title(f"{name}, {played[0].estimator}", loc="left")
    curve.set_ylabel(f"{'mean absolute error' if regression else 'accuracy, %'}\nof {ROLLING:,} rows")
    curve.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    _lanes(lanes, next(each for each in played if each.who == US))
    lanes.set_xlabel("rows after the warm-up")
    lanes.xaxis.set_major_formatter("{x:,.0f}")
    for axes in (curve, lanes):
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
    figure.savefig(target, metadata={"Date": None})
    plt.close(figure)


def _rolling(scores: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """After each hundredth row the mean of the newest thousand, or of all there are."""
    sums = np.concatenate([[0.0], np.cumsum(scores)])
    at = np.unique([*range(STEP, len(sums), STEP), len(scores)])
    start = np.maximum(at - ROLLING, 0)
    return at, (sums[at] - sums[start]) / (at - start)


def _lanes(lanes: Any, ours: Played) -> None:
    drawn = (("promotion", "tab:green"), ("retraining", "tab:blue"), ("alarm", "tab:red"))
    for lane, (event, color) in enumerate(drawn):
        places = [row for row, kind in ours.events if kind == event]
        lanes.scatter(places, [lane] * len(places), marker="|", s=60, color=color)
    lanes.set_yticks(range(len(drawn)), [f"{event}s" for event, _ in drawn])
    lanes.set_ylim(-0.6, len(drawn) - 0.4)
