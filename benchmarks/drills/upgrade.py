"""`python -m benchmarks.drills.upgrade [OLD]`: from a release (a tag, or any commit) to this one and back, while jobs are posted.

The old release's parts run on PostgreSQL. Under load this release prepares the ledger while they serve; then each part of the
new one comes and the old one goes, the API last. The same way back. Clients repeat what was not answered, with its
Idempotency-Key. A line a promise; exit 1 if one was broken.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from benchmarks.chaos.judge import Row, judge, records_of, wait_done
from benchmarks.chaos.load import Load
from benchmarks.chaos.servers import Missing
from benchmarks.drills.__main__ import Verdict
from benchmarks.parts import Parts
from benchmarks.stack import ROOT, until

ROLES = ("predict", "general", "quarantine", "sweeper", "beat")
LEASE_S, DONE_S = 10.0, 120.0


def main() -> int:
    """There and back; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drills.upgrade", description=__doc__)
    parser.add_argument("old", nargs="?", help="a tag, branch or commit of this repository (default: the newest release)")
    parser.add_argument("--jobs", type=int, default=1_200)
    parser.add_argument("--rate", type=float, default=20.0, help="jobs posted a second")
    asked = parser.parse_args()
    verdict = Verdict()
    try:
        with Parts(LEASE_S) as parts:
            old = _tree(asked.old or _newest_release(), parts.folder / "old")
            _first(parts, old)
            _move(parts, "old", "new", ROOT, asked, verdict)
            _move(parts, "new", "back", old, asked, verdict)
    except Missing as missing:
        print(f"not possible here: {missing}")
        return 2
    return 0 if all(verdict.held) else 1


def _newest_release() -> str:
    """The newest tag before this commit.

    Raises:
        Missing: there is none here, as in a clone without tags.
    """
    found = subprocess.run(["git", "describe", "--tags", "--abbrev=0"], cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        raise Missing("no release to come from: name a commit")
    return found.stdout.strip()


def _tree(commit: str, folder: Path) -> Path:
    """The files of a commit."""
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _first(parts: Parts, tree: Path) -> None:
    parts.prepare(tree)
    parts.start_python("api old", "api", tree=tree)
    for role in ROLES:
        parts.start_python(f"{role} old", "workers", role, tree=tree)
    parts.until_served()


def _move(parts: Parts, before: str, after: str, tree: Path, asked: argparse.Namespace, verdict: Verdict) -> None:
    """From the parts called `before` to those of the release in `tree`, called `after`."""
    with parts.client() as client:
        load = Load(client, asked.jobs, asked.rate, 1 if after == "new" else 2, stubborn=True)
        load.start()
        time.sleep(5.0)
        if after == "new":
            parts.prepare(tree)
        for role in ROLES:
            parts.start_python(f"{role} {after}", "workers", role, tree=tree)
            time.sleep(5.0)
            parts.stop(f"{role} {before}")
        parts.stop(f"api {before}")
        parts.start_python(f"api {after}", "api", tree=tree)
        until(parts.serves, 60, "the API serves")
        load.join()
        wait_done(parts.ledger_url, load.ids, DONE_S)
        row = Row("upgrade", "ours")
        with records_of(parts.ledger_url, parts.data / "artifacts") as records:
            judge(row, load.posted, client, records)
    what = "to this release" if after == "new" else "back to the old one"
    counts = f"{row.accepted} of {len(load.posted)} accepted, slowest {row.slowest_post_s:.1f} s"
    verdict.say(f"{what}: every job was taken, at last", row.accepted == len(load.posted), counts)
    lost = f"{row.lost} lost, {row.false_failures} failed, {row.recorded_twice} twice; {'; '.join(row.notes)}"
    verdict.say(f"{what}: none was lost, failed or recorded twice", row.kept, lost)


if __name__ == "__main__":
    sys.exit(main())
