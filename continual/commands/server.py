"""`doctor` and `reproduce`: what works best on the machine of the stack."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from continual import doctor as examination
from continual.commands.here import Here, command
from continual.doctor import Finding

ROOT = Path(__file__).resolve().parents[2]


@command()
def doctor(here: Here) -> int:
    """Look at everything an operator would, and say what to mend."""
    found = examination.examine(here.url, here.secret)
    here.say(found, lambda: "\n".join(_line(here, each) for each in found))
    return 0 if all(each.ok for each in found) else 1


def _line(here: Here, each: Finding) -> str:
    mark = here.colour("✓", "green") if each.ok else here.colour("✗", "red")
    line = f"{mark} {each.name:<12} {each.detail}"
    return line if each.ok or not each.mend else f"{line}\n  {'':<12} → {each.mend}"


@command()
@click.argument("decision_id", metavar="DECISION")
def reproduce(here: Here, decision_id: str) -> int:
    """Run a training again from its record and compare the models byte for byte. On the machine of the stack."""
    if not (ROOT / "workers").is_dir():
        raise click.UsageError("The workers' code is not here: run it where the stack runs (make reproduce DECISION=id).")
    ran = subprocess.run(
        [sys.executable, "-m", "workers", "reproduce", decision_id], stdout=subprocess.PIPE, text=True, check=False
    )
    here.say({"same": ran.returncode == 0, "said": ran.stdout.splitlines()}, ran.stdout.rstrip)
    return ran.returncode


COMMANDS = (doctor, reproduce)
