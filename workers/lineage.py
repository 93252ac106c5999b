"""Where a model comes from: all that its training depended on, so that it can be run again from the record alone."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from ml.rows import pack
from problems.declaration import DECLARED, Problem
from settings import VERSION
from storage import datasets
from storage.models import Model
from storage.versions import Version
from workers.history import History, Learnable
from workers.shelf import Loaded

LIBRARIES: Final = ("numpy", "pandas", "scipy", "scikit-learn", "skops")
Lineage = dict[str, Any]


def of(
    tx: Connection, model: Model, problem: Problem, learnt: Learnable, champion: Loaded | None, recalled: Sequence[Version]
) -> Lineage:
    """The rows and what they were compared with; when they were read, seed, reason and window are the training's to add."""
    past = learnt.past
    first, last = int(past.positions[learnt.older]), int(past.positions[-1])
    used = datasets.between(tx, model.name, first, last + 1)
    newest = past.positions[learnt.older :]
    of_datasets = sum(_between(newest, each.position, each.position + each.rows) for each in used)
    return {
        "positions": [first, last + 1],
        "rows": len(newest),
        "labels": len(newest) - of_datasets,
        "left_out": learnt.left_out,
        "history": [model.tail, model.head],
        "replay": {"rows": len(learnt.replay), "older": learnt.older},
        "recall": [each.name for each in recalled],
        "rows_sha256": digest(problem, past),
        "datasets": [{"id": each.id, "sha256": each.sha256, "rows": each.rows, "source": each.source} for each in used],
        "problem": dict(model.declared),
        "source": model.source,
        "source_sha256": source_digest(model.source),
        "champion": champion.version.name if champion else None,
        "code_version": code_version(),
        "libraries": libraries(),
    }


def _between(ascending: NDArray[np.int64], start: int, stop: int) -> int:
    """How many of them lie in [start, stop)."""
    return int(np.searchsorted(ascending, stop) - np.searchsorted(ascending, start))


def moment(at: float) -> str:
    """Epoch seconds as RFC 3339 in UTC, to the microsecond: records are answered as they are kept."""
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def epoch(moment: str) -> float:
    """The inverse of `moment`."""
    return datetime.fromisoformat(moment).timestamp()


def digest(problem: Problem, past: History) -> str:
    """SHA-256 of labelled rows, as they are packed, and of their labels."""
    hashed = hashlib.sha256(pack(problem, past.rows).encode())
    hashed.update(msgspec.json.encode(past.truth.tolist()))
    return hashed.hexdigest()


def compared(problem: Problem, rows: History) -> Lineage:
    """On which rows two models were compared."""
    positions = [int(rows.positions[0]), int(rows.positions[-1]) + 1]
    return {"positions": positions, "rows_sha256": digest(problem, rows)}


def source_digest(source: str) -> str | None:
    """SHA-256 of the .py file that builds the estimator; None if the declaration says all, or the file is gone."""
    file = Path(source)
    return None if source == DECLARED or not file.exists() else hashlib.sha256(file.read_bytes()).hexdigest()


@lru_cache(maxsize=1)
def libraries() -> dict[str, str]:
    """Versions of what a fitted model's bytes depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


@lru_cache(maxsize=1)
def code_version() -> str:
    """The commit of this code, or the release where there is no repository or no git (an image has neither)."""
    git, root = shutil.which("git"), Path(__file__).parent.parent
    if git is None or not (root / ".git").exists():
        return VERSION
    asked = subprocess.run([git, "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or VERSION


def tags(lineage: Lineage) -> dict[str, str]:
    """Its gist for the model registry."""
    return {
        "dataset_ids": ",".join(each["id"] for each in lineage["datasets"])[:5000],
        "dataset_sha256": ",".join(each["sha256"] for each in lineage["datasets"])[:5000],
        "positions": "-".join(map(str, lineage["positions"])),
        "rows_sha256": lineage["rows_sha256"],
        "seed": str(lineage["seed"]),
        "code_version": lineage["code_version"],
    }
