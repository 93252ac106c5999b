"""`python -m benchmarks.chaos.soak`: a steady load for a quarter of an hour; memory and files stay flat."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes
from benchmarks.chaos.judge import Row, judge, records_of, wait_done
from benchmarks.chaos.load import Load
from benchmarks.stack import Stack

EVERY_S = 10.0
WARM = 1 / 3  # the first third fills caches and pools; the rest is compared
MOST_GROWTH_MB, MOST_GROWTH_SHARE, MOST_MORE_FILES = 40.0, 0.10, 8


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one moment: resident memory in MiB, and open files."""

    resident_mb: float
    files: int


def main() -> int:
    """0 if no process grew and no job was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--rate", type=float, default=80.0, help="jobs posted a second")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    stack = Stack(folder / "stack")
    try:
        stack.start()
        load = Load(stack.client(), int(asked.minutes * 60 * asked.rate), asked.rate, 0)
        flat = _print(_run(stack, load))
        row = _judged(stack, load)
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(
        f"\n{row.accepted} accepted, {row.rejected} rejected, {row.lost} lost, {row.false_failures} false failures, "
        f"{row.recorded_twice} recorded twice, slowest POST {row.slowest_post_s:.2f} s; {'; '.join(row.notes)}"
    )
    return 0 if flat and row.kept else 1


def _run(stack: Stack, load: Load) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = defaultdict(list)
    load.start()
    began = time.monotonic()
    while time.monotonic() - began < load.jobs / load.rate:
        time.sleep(EVERY_S)
        for each in stack.processes():
            name = f"{each.role} {each.pid}"
            samples[name].append(Sample(processes.resident_mb(each.pid), processes.open_files(each.pid)))
        broker = stack.broker_pid()
        samples[f"broker {broker}"].append(Sample(processes.resident_mb(broker), processes.open_files(broker)))
    return samples


def _judged(stack: Stack, load: Load) -> Row:
    load.join()
    wait_done(stack.ledger_url, load.ids, 60.0)
    row = Row("soak", "ours")
    with stack.client() as client, records_of(stack.ledger_url, stack.data / "artifacts") as records:
        judge(row, load.posted, client, records)
    return row


def _print(samples: dict[str, list[Sample]]) -> bool:
    """The table; whether every process that lived from the first third on stayed flat."""
    print("| process | resident, MiB: a third in | at the end | most | open files: a third in | at the end | flat |")
    print("|---" * 7 + "|")
    longest, all_flat = max(len(each) for each in samples.values()), True
    for name, each in sorted(samples.items()):
        if len(each) < longest - 1:
            continue  # a short-lived child, such as the reader of a table
        warm, last = each[int(len(each) * WARM)], each[-1]
        grown = last.resident_mb - warm.resident_mb
        flat = grown <= max(MOST_GROWTH_MB, MOST_GROWTH_SHARE * warm.resident_mb) and last.files - warm.files <= MOST_MORE_FILES
        all_flat = all_flat and flat
        most = max(sample.resident_mb for sample in each)
        figures = f"{warm.resident_mb:.0f} | {last.resident_mb:.0f} | {most:.0f} | {warm.files} | {last.files}"
        print(f"| {name} | {figures} | {'yes' if flat else 'NO'} |")
    return all_flat


if __name__ == "__main__":
    sys.exit(main())
