"""`make bench-learning`: streams through our own loop and beside it what others do, all in one run; docs/learning has a report.

Streams are the CSV files of a folder, or generated ones. The report is written anew after each part, so that a run that is
stopped has told what it had found.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from threadpoolctl import threadpool_limits

from benchmarks.learning import forgetting, http, ours, peers, plots, simulate, streams
from benchmarks.learning.played import CHUNK, WARM, Played
from benchmarks.learning.report import Report, Result
from benchmarks.learning.streams import ESTIMATORS, Stream
from benchmarks.stack import ROOT
from problems.declaration import Problem

RESULTS, PAGES = ROOT / "benchmarks" / "results", ROOT / "docs" / "learning"
QUICK_ROWS: Final = 8_000
GENERATED_ROWS: Final = 30_000  # whole segments of the concept that comes back: one that is cut off would weigh its turn more
SHUFFLED_RUNS, SHUFFLED_ROWS = 24, 36_000
PARTS = ("streams", "http", "shuffled", "simulations", "forgetting")


def main() -> int:
    """Measure what was asked for, print it, and keep it in benchmarks/results."""
    asked = _parse()
    with tempfile.TemporaryDirectory(prefix="bench-learning-", ignore_cleanup_errors=True) as folder, threadpool_limits(1):
        bench = Bench(asked, Path(folder))
        bench.run()
    print(bench.report.markdown())
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="of CSV or CSV.gz files, oldest row first, label `target` or last")
    parser.add_argument("--quick", action="store_true", help=f"the first {QUICK_ROWS:,} rows of each stream, few simulated runs")
    parser.add_argument("--streams", type=_names, default=[], help="only these, by name, with commas")
    parser.add_argument("--estimators", type=_names, default=["lr", "hgb"], help=f"of {', '.join(ESTIMATORS)} (default: lr,hgb)")
    parser.add_argument(
        "--ignore", type=_names, default=["ts", "y_pred_proba"], help="columns that are no features (default: %(default)s)"
    )
    parser.add_argument("--parts", type=_names, default=list(PARTS), help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--no-peers", action="store_true", help="our own loop alone")
    parser.add_argument(
        "--write-docs", action="store_true", help=f"the report and a picture of each stream into {PAGES.relative_to(ROOT)}"
    )
    return parser.parse_args()


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


@dataclass(slots=True)
class Tell:
    """What runs now and how far it is: a line that moves on a terminal, one line per run in a file."""

    what: str = ""
    total: int = 0
    began: float = 0.0

    def start(self, what: str, total: int = 0) -> None:
        """Something begins; `total` is its number of rows."""
        self.what, self.total, self.began = what, total, time.monotonic()
        print(f"{what} …", file=sys.stderr, flush=True)

    def show(self, played: Played) -> None:
        """So far."""
        if sys.stderr.isatty():
            end = "\n" if played.rows >= self.total else ""
            line = f"{self.what}: {played.rows:,}/{self.total:,} rows, {played.mean:.3f}, {played.attempts} trainings"
            print(f"\r\x1b[K{line}", end=end, file=sys.stderr, flush=True)


class Bench:
    """One run.

    Args:
        asked: the command line.
        scratch: a folder for all that is written on the way.
    """

    def __init__(self, asked: argparse.Namespace, scratch: Path) -> None:
        self.report = Report(whole=not asked.quick)
        self._asked, self._scratch = asked, scratch
        self._tell = Tell()
        self._target = RESULTS / f"learning-{datetime.now(UTC):%Y%m%d-%H%M%S}.md"

    def run(self) -> None:
        """All parts, in their order."""
        played = list(self._streams())
        parts: dict[str, Callable[[], None]] = {
            "streams": lambda: self._play(played),
            "http": lambda: self._over_http(min(played, key=len)),
            "shuffled": lambda: self._shuffle(played),
            "simulations": self._simulate,
            "forgetting": self._forget,
        }
        for part, work in parts.items():
            if part in self._asked.parts:
                work()

    def _streams(self) -> Iterator[Stream]:
        asked, rows = self._asked, QUICK_ROWS if self._asked.quick else GENERATED_ROWS
        if asked.folder is None:
            found = streams.generated(self._scratch, rows, asked.estimators)
        else:
            found = streams.of_folder(asked.folder, self._scratch, asked.ignore, asked.estimators)
        for stream in found:
            if not asked.streams or stream.name in asked.streams:
                yield stream.first(QUICK_ROWS, self._scratch) if asked.quick and len(stream) > QUICK_ROWS else stream

    def _play(self, played: Sequence[Stream]) -> None:
        for stream in played:
            self._compare(stream)

    def _compare(self, stream: Stream) -> None:
        """Our loop and its peers, for every estimator; river's forest once, as it is the same beside all of them."""
        warm = stream.warm(WARM, CHUNK)
        others = [] if self._asked.no_peers else [self._forest(stream, warm)]
        for number, problem in enumerate(stream.problems):
            mine = [self._ours(stream, problem, warm)]
            for who in [] if self._asked.no_peers else peers.rules(problem):
                self._start(stream, problem, who, warm)
                mine.append(peers.play(stream, problem, who, warm, CHUNK, self._tell.show))
            self._keep(stream, [*mine, *(others if number == 0 else [])])
            if number == 0:
                self._draw(stream, [*mine, *others])

    def _start(self, stream: Stream, problem: Problem, who: str, warm: int) -> None:
        self._tell.start(f"{stream.name}, {problem.estimator.rpartition('.')[2]}, {who}", len(stream) - warm)

    def _ours(self, stream: Stream, problem: Problem, warm: int) -> Played:
        self._start(stream, problem, ours.US, warm)
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            return ours.play(stream, problem, Path(folder), warm, CHUNK, self._tell.show)

    def _forest(self, stream: Stream, warm: int) -> Played:
        self._tell.start(f"{stream.name}, {peers.ARF}", len(stream) - warm)
        return peers.arf(stream, warm, CHUNK, self._tell.show)

    def _over_http(self, stream: Stream) -> None:
        problem = stream.problems[0]
        self._tell.start(f"{stream.name}, {http.OVER_HTTP}")
        self._keep(stream, [http.play(stream, problem, self._scratch / "stack", stream.warm(WARM, CHUNK), CHUNK)])

    def _shuffle(self, played: Sequence[Stream]) -> None:
        """The same rows in other orders, with the first estimator: every alarm is a false one."""
        runs = len(played) if self._asked.quick else SHUFFLED_RUNS
        for run in range(runs):
            stream = played[run % len(played)].shuffled(run, SHUFFLED_ROWS, self._scratch)
            found = self._ours(stream, stream.problems[0], stream.warm(WARM, CHUNK))
            self.report.shuffled.append(Result(stream.name, len(stream), stream.regression, found))
            self._write()

    def _simulate(self) -> None:
        for figure in simulate.figures(100 if self._asked.quick else 1_000):
            self._tell.start(f"simulated: {figure.what}")
            self.report.figures.append(figure)
            self._write()

    def _forget(self) -> None:
        self._tell.start("split digits")
        self.report.memories = forgetting.memories(self._scratch)
        self._write()

    def _keep(self, stream: Stream, played: Sequence[Played]) -> None:
        self.report.results += [Result(stream.name, len(stream), stream.regression, each) for each in played]
        self._write()

    def _draw(self, stream: Stream, played: Sequence[Played]) -> None:
        if self._asked.write_docs:
            PAGES.mkdir(exist_ok=True)
            plots.draw(stream.name, played, stream.regression, PAGES / f"{stream.name}.svg")
            self.report.plots.append(stream.name)

    def _write(self) -> None:
        RESULTS.mkdir(exist_ok=True)
        self._target.write_text(self.report.markdown())
        if self._asked.write_docs:
            PAGES.mkdir(exist_ok=True)
            (PAGES / "README.md").write_text(f"# What the loop does on streams\n\n{self.report.markdown()}")


if __name__ == "__main__":
    sys.exit(main())
