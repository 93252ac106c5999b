"""What it costs to keep a trained model: its file, the registry's run and version, the alias; over the plain fit.

A process of its own, since MLflow takes seconds to import: a worker has done that before its first job.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from benchmarks.goals.goal import Goal
from benchmarks.stack import ROOT
from ml.generator import generate
from ml.model_file import TRUSTED, dump
from registry.mlflow_registry import MlflowRegistry
from registry.port import Upload

MOST_S, TIMES = 0.15, 7


def goals() -> list[Goal]:
    """One line."""
    asked = subprocess.run([sys.executable, "-m", __name__], cwd=ROOT, capture_output=True, text=True, check=True)
    fit, kept = json.loads(asked.stdout.splitlines()[-1])
    measured = f"{kept:.3f} s (the fit alone {fit:.3f} s)"
    return [Goal("register a model, over the plain fit", f"≤ {MOST_S} s", measured, kept <= MOST_S)]


def main() -> None:
    """Print the medians of fit, and of all that keeping takes, in seconds."""
    rows, labels = generate(1_000, 2, 0.05, "none", 0.0, 7)
    fits, keeps = [], []
    with tempfile.TemporaryDirectory() as folder:
        registry = MlflowRegistry(f"sqlite:///{folder}/mlflow.db", Path(folder) / "artifacts")
        registry.prepare()
        for n in range(TIMES + 1):
            began = time.perf_counter()
            fitted = Pipeline([("model", LogisticRegression())]).fit(rows, labels)
            fits.append(time.perf_counter() - began)
            began = time.perf_counter()
            file = Path(folder) / f"{n}.skops"
            digest = dump(fitted, file)
            told: Any = {"metrics": {"score": 1.0}, "params": {"n": 1_000}, "tags": {"sha256": digest}}
            upload = Upload("bench", fitted, file, rows[:5], labels[:5], **told, trusted=sorted(TRUSTED))
            registry.set_champion("bench", registry.register(upload))
            keeps.append(time.perf_counter() - began)
    print(json.dumps([statistics.median(fits[1:]), statistics.median(keeps[1:])]))  # the first also opens the store


if __name__ == "__main__":
    main()
