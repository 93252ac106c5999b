"""What the API's process loads before it serves."""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.goals.goal import Goal
from benchmarks.stack import ROOT

MODULES, MB = 600, 80
HEAVY = ("numpy", "sklearn", "mlflow")
CODE = """
import json, sys, api.__main__
resident = int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
print(json.dumps([len(sys.modules), resident, [name for name in %r if name in sys.modules]]))
"""


def goals() -> list[Goal]:
    """One line."""
    asked = subprocess.run([sys.executable, "-c", CODE % (HEAVY,)], cwd=ROOT, capture_output=True, text=True, check=True)
    modules, resident, heavy = json.loads(asked.stdout)
    wanted = f"≤ {MODULES} modules, ≤ {MB} MB, no {', '.join(HEAVY)}"
    measured = f"{modules} modules, {resident:.0f} MB, {', '.join(heavy) or 'none of them'}"
    return [Goal("API import", wanted, measured, modules <= MODULES and resident <= MB and not heavy)]
