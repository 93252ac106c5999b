"""The usual Flask + Celery + Redis: `delay()`, a result backend, a poll. The peer of `make bench`."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from celery import Celery
from celery.result import AsyncResult
from flask import Flask, request
from sklearn.linear_model import LogisticRegression

from ml.generator import generate

celery = Celery("naive_server", broker=os.environ.get("NAIVE_REDIS", ""), backend=os.environ.get("NAIVE_REDIS", ""))
app = Flask(__name__)


@lru_cache(maxsize=1)
def _model() -> LogisticRegression:
    rows, labels = generate(1_000, 2, 0.05, "none", 0.0, 7)
    return LogisticRegression().fit(rows, labels)


@celery.task(name="naive_server.predict")
def predict(instances: list[list[float]]) -> list[list[float]]:
    """Probabilities of a few rows."""
    shares: list[list[float]] = _model().predict_proba(instances).tolist()
    return shares


@app.post("/predict")
def post() -> tuple[dict[str, Any], int]:
    """A task's id."""
    return {"id": predict.delay(request.get_json()["instances"]).id}, 202


@app.get("/predict/<task_id>")
def read(task_id: str) -> dict[str, Any]:
    """The task's state, and its result when there is one."""
    result: Any = AsyncResult(task_id, app=celery)
    return {"state": result.state, "result": result.result if result.state == "SUCCESS" else None}
