"""FastAPI with the models in its process: no queue, nothing kept."""

from __future__ import annotations

import os

import joblib
from fastapi import FastAPI
from pydantic import BaseModel

MODELS = os.environ["BENCH_MODELS"]
models = {name: joblib.load(f"{MODELS}/{name}.joblib") for name in ("lr", "rf")}
app = FastAPI()


class Body(BaseModel):
    instances: list[list[float]]


@app.post("/predict/{name}")
async def predict(name: str, body: Body) -> dict[str, list[list[float]]]:
    return {"probabilities": models[name].predict_proba(body.instances).tolist()}
