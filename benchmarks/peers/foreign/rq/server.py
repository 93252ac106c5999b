"""Flask + RQ + Redis: `enqueue`, a poll. The worker is the one that does not fork for each job."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, request
from redis import Redis
from rq import Queue
from rq.job import Job
from tasks import predict

redis = Redis.from_url(os.environ["BENCH_REDIS"])
queue = Queue(connection=redis)
app = Flask(__name__)


@app.post("/predict/<name>")
def post(name: str) -> tuple[dict[str, Any], int]:
    return {"id": queue.enqueue(predict, name, request.get_json()["instances"]).id}, 202


@app.get("/result/<job_id>")
def read(job_id: str) -> dict[str, Any]:
    return {"id": job_id, "probabilities": Job.fetch(job_id, connection=redis).return_value()}
