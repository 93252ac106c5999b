"""`make bench`: our stack and its peers in interleaved rounds of one run, and every goal with its figure."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import joblib
import numpy as np

from benchmarks import queueing, rounds, table
from benchmarks.goals import bulk, checks, importing, learning, ratios, registering, scaling, swaps
from benchmarks.goals.goal import Goal, markdown
from benchmarks.peers.ours import Ours
from benchmarks.peers.peer import MODELS, NotInstalled, Peer
from benchmarks.peers.queues import Dramatiq, NaiveCelery, Rq
from benchmarks.peers.servers import Bento, FastApi, MlServer
from benchmarks.rounds import Plan, Questions
from benchmarks.stack import ROOT
from benchmarks.table import Machine

QUICK, WHOLE = Plan(rounds=2, crowd_s=2.0, lone_s=1.0), Plan(rounds=5, crowd_s=5.0, lone_s=2.0)
FOREIGN = {peer.key: peer for peer in (NaiveCelery, Rq, Dramatiq, FastApi, MlServer, Bento)}
PAGE, RESULTS = ROOT / "docs" / "performance.md", ROOT / "benchmarks" / "results"
ROWS = 500


def main() -> int:
    """Measure what was asked for, print it, and keep it in benchmarks/results."""
    asked = _parse()
    report = _measure(asked, WHOLE if not asked.quick else QUICK)
    print(report)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.md").write_text(report)
    if asked.write_docs:
        table.write_into(PAGE, report)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short rounds, 100k rows at most, ten swaps: under five minutes")
    parser.add_argument("--postgres", action="store_true", help="our stack also on a PostgreSQL server of the bench's own")
    parser.add_argument("--peers", default=",".join(FOREIGN), help=f"with commas (default: {','.join(FOREIGN)})")
    parser.add_argument("--no-goals", action="store_true", help="the rounds and what follows from them, nothing else")
    parser.add_argument("--write-docs", action="store_true", help=f"put the report into {PAGE.relative_to(ROOT)}")
    return parser.parse_args()


def _measure(asked: argparse.Namespace, plan: Plan) -> str:
    before = os.getloadavg()[0]
    missing: list[str] = []
    with _folder() as folder, ExitStack() as after:
        models = folder / "models"
        models.mkdir()
        ours = Ours()
        second = [Ours(postgres=True)] if asked.postgres else []
        foreign = [FOREIGN[key]() for key in asked.peers.split(",") if key]
        peers = _started([ours, *second, *foreign], folder, models, after, missing)
        questions = _questions(models)
        measured = rounds.measure(peers, questions, plan)
        found = [goal for peer in (ours, *second) for goal in ratios.goals(measured, peer.name)]
        parts = [] if asked.no_goals else _further(found, ours, peers, questions, folder, not asked.quick)
        parts = [table.systems(measured, peers, missing), markdown(found), *parts]
    return "\n\n".join([Machine(before, os.getloadavg()[0]).line(plan), *parts]) + "\n"


def _started(wanted: Sequence[Peer], folder: Path, models: Path, after: ExitStack, missing: list[str]) -> list[Peer]:
    """Those that can be had, each up and predicting; ours is first, for it trains the models of all."""
    peers = []
    for number, peer in enumerate(wanted):
        print(f"starting {peer.name}", file=sys.stderr, flush=True)
        try:
            after.callback(peer.stop)
            peer.start(folder / str(number), models)
            peers.append(peer)
        except NotInstalled as why:
            missing.append(f"{peer.name}, which does not install here: {why}")
    return peers


def _questions(models: Path) -> Questions:
    rows = np.random.default_rng(5).standard_normal((ROWS, 2))
    fitted = {name: joblib.load(models / f"{name}.joblib") for name in MODELS}
    return Questions(rows.tolist(), {name: each.predict_proba(rows)[:, 1].tolist() for name, each in fitted.items()})


def _further(found: list[Goal], ours: Ours, peers: Sequence[Peer], questions: Questions, folder: Path, whole: bool) -> list[str]:
    """Add every goal that the rounds do not answer; the tables of bulk and of the queueing model."""
    naive = next((peer for peer in peers if isinstance(peer, NaiveCelery)), None)
    tables: list[str] = []

    def of_bulk() -> list[Goal]:
        bulk.train(ours, folder / "models")
        goals, sizes = bulk.measure(ours, naive, folder, whole, times=3 if whole else 2)
        tables.extend(["**Bulk**", sizes])
        return goals

    def of_queueing() -> list[Goal]:
        tables.extend(["**The queueing model**", queueing.compare(ours, questions, 4.0 if whole else 1.5)])
        return []

    with ours.stack.client(timeout_s=120) as client:
        asks: tuple[tuple[str, Callable[[], list[Goal]]], ...] = (
            ("bulk", of_bulk),
            ("register a model", registering.goals),
            ("API import", importing.goals),
            ("learning", lambda: learning.goals(client)),
            ("check", lambda: checks.goals(folder, whole, any(isinstance(peer, Ours) for peer in peers[1:]))),
            ("swaps", lambda: swaps.goals(ours, client, 100 if whole else 10)),
            ("scaling", lambda: scaling.goals(ours, questions, 3.0 if whole else 1.0)),
            ("queueing model", of_queueing),
        )
        for name, ask in asks:
            found += _attempt(name, ask)
    return tables


def _attempt(name: str, ask: Callable[[], list[Goal]]) -> list[Goal]:
    """The lines, or one that says what went wrong: a quarter of an hour of other figures is not to be lost for it."""
    print(f"measuring {name}", file=sys.stderr, flush=True)
    try:
        return ask()
    except Exception as fault:  # noqa: BLE001 - told in the table, as a goal that was not reached
        traceback.print_exc()
        return [Goal(name, "to be measured", f"{type(fault).__name__}: {fault}"[:300], False)]


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL's user must find its own folder in it
        yield folder


if __name__ == "__main__":
    sys.exit(main())
