"""How long learning takes: a first training of 1,000 rows, and from a drift that was found to the version that answers it."""

from __future__ import annotations

import statistics
import time
from datetime import datetime
from typing import Any

import httpx

from benchmarks.goals.goal import Goal
from benchmarks.peers.ours import check, finished, train_first, upload
from ml.generator import generate

ROWS, TIMES = 1_000, 3
TRAINING_S, SWAP_S = 1.5, 5.0
DECLARED = {
    "task": "binary", "label": "y", "metric": "accuracy", "threshold": 0.5, "scale": False,
    "estimator": "sklearn.linear_model.LogisticRegression", "features": {"x1": "number", "x2": "number"},
}  # fmt: skip


def goals(client: httpx.Client) -> list[Goal]:
    """Both lines, on fresh models of the running stack."""
    trained = [_first(client, f"fresh{n}") for n in range(TIMES)]
    swapped = [drift(client, f"fresh{n}") for n in range(TIMES)]
    seconds, swap = statistics.median(trained), statistics.median(swapped)
    return [
        Goal("training on 1,000 rows, posted to promoted", f"≤ {TRAINING_S} s", f"{seconds:.2f} s", seconds <= TRAINING_S),
        Goal("drift found to new champion answering, fit aside", f"≤ {SWAP_S:g} s", f"{swap:.2f} s", swap <= SWAP_S),
    ]


def make(client: httpx.Client, model: str) -> dict[str, Any]:
    """A model of two features with a first version, trained on 1,000 rows; its training, at its end."""
    made = client.put(f"/models/{model}", json=DECLARED)
    made.raise_for_status()
    _post_rows(client, model, "none", 1)
    return train_first(client, model)


def drift(client: httpx.Client, model: str) -> float:
    """Turn the rule around. Seconds from the end of the check that found it to the first answer of the new version, fit aside.

    Raises:
        RuntimeError: no check found it.
    """
    before = version_of(client, model)
    _post_rows(client, model, "concept", 2)
    found: Any = check(client, model)["result"]
    began = time.perf_counter()
    if not found["train_job"]:
        raise RuntimeError(f"no drift was found in {model}: {found}")
    while version_of(client, model) == before:
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    trained: Any = finished(client, client.get(f"/jobs/{found['train_job']}", params={"wait": 60}))
    return max(0.0, seconds - float(trained["result"]["seconds"]))


def version_of(client: httpx.Client, model: str) -> str:
    """The version that answers a prediction now."""
    body = {"model": model, "instances": [[0.5, -0.5]]}
    job: Any = finished(client, client.post("/predict", json=body, headers={"Prefer": "wait=30"}))
    return str(job["result"]["version"])


def _first(client: httpx.Client, model: str) -> float:
    job = make(client, model)
    return (_moment(job["finished_at"]) - _moment(job["created_at"])).total_seconds()


def _post_rows(client: httpx.Client, model: str, drifted: Any, seed: int) -> None:
    rows, labels = generate(ROWS, 2, 0.05, drifted, 1.0, seed)
    lines = [f"{a!r},{b!r},{label}" for (a, b), label in zip(rows.tolist(), labels.tolist(), strict=True)]
    upload(client, model, "x1,x2,y", lines)


def _moment(text: Any) -> datetime:
    return datetime.fromisoformat(text)
