"""`python -m benchmarks.chaos`: the fault suite. A row a trial, then one a fault; exit 1 if a promise was broken."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from benchmarks.chaos import clock, containers, naive, table
from benchmarks.chaos.faults import FAULTS, Fault, Scene
from benchmarks.chaos.judge import Row, judge, records_of, wait_done
from benchmarks.chaos.load import Load
from benchmarks.chaos.others import OTHERS
from benchmarks.chaos.servers import Missing
from benchmarks.chaos.stages import Stages
from benchmarks.stack import until

MARGIN_S = 15.0  # beyond lease and work, after the end of the fault
QUICK_S = 2.0  # no POST takes longer while only the broker is hurt
ALL = {**FAULTS, **OTHERS}
TITLES = {
    **{key: fault.title for key, fault in ALL.items()},
    "o": "clock set by +10 and -10 min",
    "p": "containers: workers and redis killed",
}


def main() -> int:
    """Run the faults that were asked for; 1 if in any row a promise was broken."""
    asked = _parse()
    print(f"{asked.jobs} jobs at {asked.rate:g}/s a trial, lease {asked.lease:g} s, {os.cpu_count()} cores", flush=True)
    print(table.HEAD, flush=True)
    rows: list[Row] = []
    trials = range(asked.first, asked.first + asked.trials)
    with Stages(asked.lease, asked.postgres, asked.one_stack) as stages:
        for key, trial in product(asked.faults.split(","), trials):
            for row in _rows(key, trial, asked, stages):
                row.load = os.getloadavg()[0]
                print(table.line(row), flush=True)
                rows.append(row)
    print("\n" + table.summary(rows, TITLES))
    return 0 if all(row.kept for row in rows if row.system == "ours") else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    everything = ",".join([*ALL, "o", "p"])
    parser.add_argument("--faults", default=everything, help=f"letters, with commas (default: {everything})")
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial: what is left to chance follows from it")
    parser.add_argument("--jobs", type=int, default=800)
    parser.add_argument("--rate", type=float, default=80.0, help="jobs posted a second")
    parser.add_argument("--lease", type=float, default=30.0, help="JOB_LEASE_S of the stack")
    parser.add_argument("--postgres", action="store_true", help="the ledger on a PostgreSQL of our own")
    parser.add_argument("--one-stack", action="store_true", help="faults that need nothing of their own share one stack: quicker")
    parser.add_argument("--compose", action="store_true", help="also fault p, in containers (COMPOSE_COMMAND)")
    parser.add_argument("--no-naive", action="store_true", help="leave plain Celery out of a, b, d and e")
    parser.add_argument("--keep", action="store_true", help="keep the folders of trials that broke a promise")
    return parser.parse_args()


def _rows(key: str, trial: int, asked: argparse.Namespace, stages: Stages) -> Iterator[Row]:
    """The rows of one trial; what cannot be done here says why in its notes."""
    try:
        if key == "o":
            yield from (clock.clock_steps(minutes) for minutes in (10.0, -10.0))
            return
        if key == "p":
            yield containers.trial(asked.jobs, asked.rate, asked.compose)
            return
        yield _trial(ALL[key], trial, asked, stages)
        if key in naive.FAULTS and not asked.no_naive:
            yield naive.trial(key, asked.jobs, asked.rate, trial)
    except Missing as missing:
        yield Row(key, "not possible here", notes=[str(missing)])
    except Exception as fault:  # noqa: BLE001 - a trial that cannot be finished is a broken promise, and the others still run
        traceback.print_exc()
        yield Row(key, "ours", lost=asked.jobs, notes=[f"the trial ended with {type(fault).__name__}: {fault}"])


def _trial(fault: Fault, trial: int, asked: argparse.Namespace, stages: Stages) -> Row:
    row = Row(fault.key, "ours", notes=[f"{fault.title}; {'PostgreSQL' if asked.postgres else 'SQLite'}"])
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{fault.key}-"))
    try:
        with stages.scene(fault, trial, folder) as scene:
            _play(fault, scene, Load(scene.stack.client(), asked.jobs, asked.rate, trial, fault.stubborn), row)
    finally:
        if row.kept or not asked.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            row.notes.append(f"kept: {folder}")
    return row


def _play(fault: Fault, scene: Scene, load: Load, row: Row) -> None:
    url = scene.stack.ledger_url
    with records_of(url) as records:
        before = records.accepted("predict")
    load.start()
    time.sleep(2.0)
    fault.strike(scene)
    ended = time.monotonic()
    load.join()
    wait_done(url, load.ids, scene.lease_s + MARGIN_S + scene.work_s)
    row.done_s = time.monotonic() - ended
    until(scene.stack.answers, 180, "the API serves")
    with scene.stack.client() as client, records_of(url, scene.stack.data / "artifacts", scene.aside) as records:
        judge(row, load.posted, client, records)
        if fault.stubborn:
            made = sum(each.kind in ("predict", "table") for each in load.posted if each.job_id)
            row.recorded_twice += max(0, records.accepted("predict") - before - made)
        if fault.broker and (late := sum(each.seconds > QUICK_S for each in load.posted)):
            row.late_posts = late
            row.notes.append(f"{late} POSTs took longer than {QUICK_S:g} s")
        for model, ends in scene.expected.items():
            _expect(row, scene, model, ends)
        for bulk in scene.bulk:
            bulk.judge(row, client, records, scene.lease_s + MARGIN_S + scene.work_s)


def _expect(row: Row, scene: Scene, model: str, ends: str) -> None:
    """The first training of a model must end as it should, within its time."""
    end = time.monotonic() + scene.lease_s + MARGIN_S + scene.work_s
    with scene.stack.client() as client:
        while True:
            found = client.get(f"/jobs?kind=train&model={model}&limit=100").json()["jobs"]
            status = found[-1]["status"] if found else "none"
            if status not in ("none", "queued", "running") or time.monotonic() > end:
                break
            time.sleep(0.5)
    row.notes.append(f"training of {model}: {status} after {found[-1]['attempt'] if found else 0} attempts")
    row.lost += status in ("none", "queued", "running")
    row.false_failures += status not in (ends, "none", "queued", "running")


if __name__ == "__main__":
    sys.exit(main())
