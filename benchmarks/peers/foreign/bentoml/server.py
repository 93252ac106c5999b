"""BentoML with adaptive batching."""

from __future__ import annotations

import os

import bentoml
import joblib
import numpy as np
from numpy.typing import NDArray

MODELS = os.environ["BENCH_MODELS"]


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 1000})
class Service:
    def __init__(self) -> None:
        self.models = {name: joblib.load(f"{MODELS}/{name}.joblib") for name in ("lr", "rf")}

    @bentoml.api(batchable=True, max_batch_size=512, max_latency_ms=1000)
    def lr(self, instances: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.models["lr"].predict_proba(instances)

    @bentoml.api(batchable=True, max_batch_size=512, max_latency_ms=1000)
    def rf(self, instances: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.models["rf"].predict_proba(instances)
