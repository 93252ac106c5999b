"""`make profile`: CPU µs per prediction of every stage that a request goes through, in the real processes under load."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np

from benchmarks import processes
from benchmarks.load import Crowd
from benchmarks.peers.ours import Ours
from benchmarks.profile.stages import STAGES
from benchmarks.stack import until

INSIDE = Path(__file__).parent / "inside"
CLIENTS = (1, 64)
WARM_S, TOLD_S = 1.0, 0.6  # totals are told four times a second: after so long they are of now
ROWS = 500


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one stage and number of clients: CPU µs per prediction, and calls per prediction."""

    us: float
    calls: float


Totals = dict[str, tuple[float, float]]  # stage → (calls, CPU seconds)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of load for each number of clients")
    parser.add_argument("--model", choices=("lr", "rf"), default="lr")
    parser.add_argument("--postgres", action="store_true", help="the ledger on a PostgreSQL of the bench's own")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="profile-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL's user must find its own folder in it
        told = folder / "told"
        told.mkdir()
        costs = _measure(folder, told, asked)
    print(f"CPU µs per prediction, {asked.model}, one row a request; load average {os.getloadavg()[0]:.1f}\n")
    print(_markdown(costs))
    return 0


def _measure(folder: Path, told: Path, asked: argparse.Namespace) -> dict[int, dict[str, Cost]]:
    everything = [(stage, where) for stages in STAGES.values() for stage, where, _ in stages]
    inside = {"PYTHONPATH": str(INSIDE), "BENCH_PROFILE": str(told), "BENCH_STAGES": json.dumps(everything)}
    ours, models = Ours(postgres=asked.postgres, also=inside), folder / "models"
    models.mkdir()
    try:
        ours.start(folder / "ours", models)
        rows = np.random.default_rng(5).standard_normal((ROWS, 2))
        expected = joblib.load(models / f"{asked.model}.joblib").predict_proba(rows)[:, 1].tolist()
        roles = {role: ours.stack.mains(role)[0] for role in STAGES}
        costs = {}
        for clients in CLIENTS:
            crowd = Crowd(ours, ours.port, asked.model, rows.tolist(), expected)
            crowd.closed(clients, WARM_S)
            before = {role: _totals(told, pid) for role, pid in roles.items()}
            done = len(Crowd(ours, ours.port, asked.model, rows.tolist(), expected).closed(clients, asked.seconds).done)
            after = {role: _totals(told, pid) for role, pid in roles.items()}
            costs[clients] = {key: cost for role in STAGES for key, cost in _costs(role, before[role], after[role], done).items()}
    finally:
        ours.stop()
    return costs


def _totals(told: Path, root: int) -> Totals:
    """What the processes of a role have told, once it is fresh.

    Raises:
        RuntimeError: a function of the list does not exist.
    """
    time.sleep(TOLD_S)
    sums: dict[str, list[float]] = {}
    for pid in processes.tree([root]):
        file = told / f"{pid}.json"
        until(file.exists, 10, f"process {pid} tells its stages")
        said = json.loads(file.read_text())
        if said["missing"]:
            raise RuntimeError(f"benchmarks/profile/stages.py names what is not there: {', '.join(said['missing'])}")
        for stage, (calls, seconds) in {**said["stages"], "process": (0, said["process_s"])}.items():
            total = sums.setdefault(stage, [0, 0.0])
            total[0] += calls
            total[1] += seconds
    return {stage: (calls, seconds) for stage, (calls, seconds) in sums.items()}


def _costs(role: str, before: Totals, after: Totals, done: int) -> dict[str, Cost]:
    """By `role stage`; what no stage has is the process's `rest`.

    Raises:
        RuntimeError: a module of the list is not there.
    """
    found: dict[str, Cost] = {}
    named = 0.0
    for stage, _, _ in STAGES[role]:
        if stage not in after:
            raise RuntimeError(f"the {role} process has not loaded what benchmarks/profile/stages.py calls {stage}")
        calls, seconds = (after[stage][i] - before[stage][i] for i in (0, 1))
        named += seconds
        found[f"{role} {stage}"] = Cost(1e6 * seconds / done, calls / done)
    whole = after["process"][1] - before["process"][1]
    return found | {f"{role} rest": Cost(1e6 * (whole - named) / done, 1.0), f"{role} all": Cost(1e6 * whole / done, 1.0)}


def _markdown(costs: Mapping[int, Mapping[str, Cost]]) -> str:
    about = {f"{role} {stage}": what for role, stages in STAGES.items() for stage, _, what in stages}
    about |= {f"{role} rest": "sockets, the loop, threads, libraries" for role in STAGES} | {f"{role} all": "" for role in STAGES}
    head = " | ".join(f"{clients} client{'s' if clients > 1 else ''}, µs | calls" for clients in costs)
    lines = [f"| process | stage | {head} | what it is |", "|---" * (3 + 2 * len(costs)) + "|"]
    for role, stages in STAGES.items():
        for stage in [*(stage for stage, _, _ in stages), "rest", "all"]:
            cells = [costs[clients][f"{role} {stage}"] for clients in costs]
            figures = " | ".join(f"{cell.us:.0f} | {cell.calls:.2f}" for cell in cells)
            lines.append(f"| {role} | {stage} | {figures} | {about[f'{role} {stage}']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
