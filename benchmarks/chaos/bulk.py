"""A prediction of many rows, whose answer is a file: posted before a fault, and held against `predict_proba` after it."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.ipc
from numpy.typing import NDArray

from benchmarks.chaos.judge import OPEN, TOLERANCE, Records, Row
from ml.model_file import load

ARROW = "application/vnd.apache.arrow.stream"


@dataclass(frozen=True, slots=True)
class Bulk:
    """One accepted job and its rows, float64 (n, 2)."""

    job_id: str
    rows: NDArray[np.float64]

    @classmethod
    def post(cls, client: httpx.Client, count: int, seed: int) -> Bulk:
        """Post `count` rows to the built-in model."""
        rows = np.random.default_rng(seed).normal(size=(count, 2))
        table, body = pa.table({"x1": rows[:, 0], "x2": rows[:, 1]}), io.BytesIO()
        with pa.ipc.new_stream(body, table.schema) as stream:
            stream.write_table(table, max_chunksize=65_536)
        answer = client.post("/predict?model=default", content=body.getvalue(), headers={"Content-Type": ARROW})
        return cls(answer.raise_for_status().json()["id"], rows)

    def judge(self, row: Row, client: httpx.Client, records: Records, seconds: float) -> None:
        """Wait for it, at most `seconds`; count it as lost or as a false failure where it is one."""
        end = time.monotonic() + seconds
        while (job := client.get(f"/jobs/{self.job_id}").json())["status"] in OPEN and time.monotonic() < end:
            time.sleep(0.5)
        row.notes.append(f"{len(self.rows):,} rows: {job['status']} after {job['attempt']} attempts")
        row.lost += job["status"] in OPEN
        row.false_failures += job["status"] not in ("succeeded", *OPEN)
        if job["status"] == "succeeded" and not self._right(client, records, job["result"]["version"]):
            row.false_failures += 1
            row.notes.append("its answer is not what predict_proba says")

    def _right(self, client: httpx.Client, records: Records, version: str) -> bool:
        answer = client.get(f"/jobs/{self.job_id}/result", headers={"Accept": ARROW}).raise_for_status()
        with pa.ipc.open_stream(answer.content) as stream:
            said = stream.read_all()
        found = records.model(version)
        if found is None or said.num_rows != len(self.rows):
            return False
        model = load(*found)
        names = [f"probability_{each}" for each in model.classes_]
        given = np.column_stack([said[name].to_numpy() for name in names])
        ids = said["prediction_id"].to_pylist() == [f"{self.job_id}:{n}" for n in range(len(self.rows))]
        return ids and bool(np.allclose(model.predict_proba(self.rows), given, rtol=0, atol=TOLERANCE))
