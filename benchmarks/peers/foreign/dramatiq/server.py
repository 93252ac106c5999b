"""Flask + Dramatiq + Redis: `send`, the result backend, a poll."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import dramatiq
import joblib
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import ResultMissing, Results
from dramatiq.results.backends import RedisBackend
from flask import Flask, request

BROKER = os.environ["BENCH_REDIS"]
MODELS = os.environ["BENCH_MODELS"]
backend = RedisBackend(url=BROKER)
broker = RedisBroker(url=BROKER)
broker.add_middleware(Results(backend=backend))
dramatiq.set_broker(broker)
app = Flask(__name__)


@lru_cache
def model(name: str) -> Any:
    return joblib.load(f"{MODELS}/{name}.joblib")


@dramatiq.actor(store_results=True)
def predict(name: str, instances: list[list[float]]) -> list[list[float]]:
    return model(name).predict_proba(instances).tolist()


@app.post("/predict/<name>")
def post(name: str) -> tuple[dict[str, Any], int]:
    return {"id": predict.send(name, request.get_json()["instances"]).message_id}, 202


@app.get("/result/<message_id>")
def read(message_id: str) -> dict[str, Any]:
    message = predict.message().copy(message_id=message_id)
    try:
        found = backend.get_result(message)
    except ResultMissing:
        found = None
    return {"id": message_id, "probabilities": found}
