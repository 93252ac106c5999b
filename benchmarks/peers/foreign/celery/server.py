"""The usual Flask + Celery + Redis: `delay()`, a result backend, a poll."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import joblib
from celery import Celery
from celery.result import AsyncResult
from flask import Flask, request

BROKER = os.environ["BENCH_REDIS"]
MODELS = os.environ["BENCH_MODELS"]
celery = Celery("server", broker=BROKER, backend=BROKER)
celery.conf.update(worker_prefetch_multiplier=16, task_send_sent_event=False, worker_send_task_events=False)
app = Flask(__name__)


@lru_cache
def model(name: str) -> Any:
    return joblib.load(f"{MODELS}/{name}.joblib")


@celery.task(name="predict")
def predict(name: str, instances: list[list[float]]) -> list[list[float]]:
    return model(name).predict_proba(instances).tolist()


@app.post("/predict/<name>")
def post(name: str) -> tuple[dict[str, Any], int]:
    return {"id": predict.delay(name, request.get_json()["instances"]).id}, 202


@app.get("/result/<task_id>")
def read(task_id: str) -> dict[str, Any]:
    task = AsyncResult(task_id, app=celery)
    return {"id": task_id, "probabilities": task.result if task.state == "SUCCESS" else None}
