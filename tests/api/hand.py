"""A worker's hand for the API's tests: claims jobs from the real ledger and ends them, without Celery or scikit-learn."""

from __future__ import annotations

import threading
import time
from array import array
from typing import Any

import msgspec
import pyarrow as pa
from sqlalchemy import select

from problems.rows import PackedRows
from storage import champions, claims, ledger, models, predictions, versions
from storage.artifacts import Artifacts
from storage.database import Database
from storage.jobs import Job
from storage.ledger import Outcome
from storage.predictions import Logged
from storage.schema import jobs
from storage.versions import Version

PLANE = {
    "task": "binary",
    "label": "target",
    "metric": "accuracy",
    "threshold": 0.7,
    "estimator": "sklearn.linear_model.LogisticRegression",
    "estimator_args": {},
    "scale": True,
    "ignore": ["ts"],
    "features": {"x1": "number", "x2": "number"},
}


def promote(database: Database, model: str, number: int, before: str | None = None) -> None:
    """Let a version serve, as the end of a training does."""
    with database.begin() as tx:
        version = Version(model, number, "job", 1.0, "a", "0", {"score": 0.9}, {"rows": 100}, before, {}, {}, [0, 1])
        versions.add(tx, version)
        champions.serve(tx, model, version.name, 0, performance=0.9, classes=[0, 1])
        champions.record(tx, model, "promote", version.name, before, "The challenger was better.", 1.0)


class Hand:
    """Does the work of predict, check and generate jobs; `work` once, or all the time within `with`."""

    def __init__(self, database: Database, artifacts: Artifacts) -> None:
        self.database, self.artifacts = database, artifacts
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Hand:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            self.work()

    def work(self) -> list[str]:
        """Claim and end every queued job; returns their ids."""
        with self.database.begin() as tx:
            queued = list(tx.execute(select(jobs.c.id).where(jobs.c.status == "queued")).scalars())
            claimed = claims.claim(tx, queued, "hand", "task", time.time(), 30)
        ended = [self._end(job) for job in claimed]
        with self.database.begin() as tx:
            predictions.log(tx, [logged for _, logged in ended if logged])
            done = ledger.finish(tx, "hand", [outcome for outcome, _ in ended], time.time())
        return sorted(done)

    def _end(self, job: Job) -> tuple[Outcome, Logged | None]:
        if job.kind != "predict":
            return Outcome(job.id, "succeeded", msgspec.json.encode({"model": job.model, "kind": job.kind}).decode()), None
        if job.artifact and not job.artifact.endswith(".bin"):
            return Outcome(job.id, "failed", error=ledger.error_json("invalid_rows", "No rows.", 1)), None
        packed = job.payload or self.artifacts.path(str(job.artifact)).read_bytes()
        rows = PackedRows.decode(packed)
        with self.database.read() as tx:
            model = models.get(tx, job.model)
        assert model is not None
        logged = Logged(job.id, job.model, model.champion or "1", rows.count, packed, None, time.time())
        return self._predicted(job, rows, model.champion or "1"), logged

    def _predicted(self, job: Job, rows: PackedRows, version: str) -> Outcome:
        cells = array("d", rows.numbers)
        labels = [int(cells[2 * n] + cells[2 * n + 1] > 0) for n in range(rows.count)]
        head: dict[str, Any] = {"model": job.model, "version": version}
        if rows.count > 1000:
            return self._large(job, labels, head)
        said = [
            {"prediction_id": f"{job.id}:{n}", "label": label, "probabilities": {"0": 1.0 - label, "1": float(label)}}
            for n, label in enumerate(labels)
        ]
        return Outcome(job.id, "succeeded", msgspec.json.encode(head | {"predictions": said}).decode())

    def _large(self, job: Job, labels: list[int], head: dict[str, Any]) -> Outcome:
        name = f"results/{job.id}.arrow"
        ids = [f"{job.id}:{n}" for n in range(len(labels))]
        columns = {
            "prediction_id": ids,
            "label": labels,
            "probability_0": [1.0 - v for v in labels],
            "probability_1": [float(v) for v in labels],
        }
        table = pa.table(columns)
        with self.artifacts.writing(name) as draft, pa.ipc.new_stream(str(draft), table.schema) as file:
            file.write_table(table, max_chunksize=700)
        summary = head | {"rows": len(labels), "labels": {"0": labels.count(0), "1": labels.count(1)}}
        return Outcome(job.id, "succeeded", msgspec.json.encode(summary).decode(), result_artifact=name)
