"""A trained model on its way into a registry, and both registries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from registry.memory import MemoryRegistry
from registry.mlflow_registry import MlflowRegistry
from registry.port import ModelRegistry, Upload


@pytest.fixture(scope="session")
def upload(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Upload]:
    """Makes uploads of one fitted pipeline; each file's bytes differ, as skops writes the time into them."""
    folder = tmp_path_factory.mktemp("trained")
    rows = np.random.default_rng(7).normal(size=(200, 2))
    labels = (rows.sum(axis=1) > 0).astype(int)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)

    def make(model: str, job_id: str, extra: bytes = b"") -> Upload:
        file = folder / f"{model}-{job_id}.skops"
        file.write_bytes(skops.io.dumps(pipeline) + extra)
        return Upload(
            model=model,
            estimator=pipeline,
            file=file,
            sample=rows[:5],
            labels=labels[:5],
            metrics={"accuracy": 0.95},
            params={"model_type": "LogisticRegression", "n_samples": 200, "performance_threshold": 0.8},
            tags={"job_id": job_id, "attempt": "1", "seed": "7", "data": "d1:ab12"},
        )

    return make


@pytest.fixture(scope="session")
def mlflow_registry(tmp_path_factory: pytest.TempPathFactory) -> MlflowRegistry:
    """MLflow on a SQLite store of this run's own, opened once: its migrations take seconds."""
    folder: Path = tmp_path_factory.mktemp("mlflow")
    for left in ("mlflow.db.draft", "mlflow.db.draft-journal"):  # of a start that was killed
        (folder / left).write_bytes(b"half made")
    made = MlflowRegistry(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts")
    made.prepare()
    return made


@pytest.fixture(params=["memory", "mlflow"])
def registry(request: pytest.FixtureRequest) -> ModelRegistry:
    """Each adapter in turn; tests use models' names of their own, as the MLflow store is shared."""
    if request.param == "memory":
        return MemoryRegistry()
    found: MlflowRegistry = request.getfixturevalue("mlflow_registry")
    return found
