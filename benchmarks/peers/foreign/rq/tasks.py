"""What RQ's workers do."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import joblib

MODELS = os.environ["BENCH_MODELS"]


@lru_cache
def model(name: str) -> Any:
    return joblib.load(f"{MODELS}/{name}.joblib")


def predict(name: str, instances: list[list[float]]) -> list[list[float]]:
    return model(name).predict_proba(instances).tolist()
