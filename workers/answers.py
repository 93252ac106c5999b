"""Predictions as clients see them: a row each in JSON, columns in a file."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ml.prediction import Prediction


class Answers:
    """A prediction for many jobs, turned into Python's own values once for all of them."""

    def __init__(self, said: Prediction) -> None:
        self._labels: list[Any] = said.labels.tolist()
        self._shares = None if said.probabilities is None else said.probabilities.tolist()
        self._names = [class_name(each) for each in said.classes]

    def rows(self, job_id: str, start: int, stop: int) -> list[dict[str, Any]]:
        """Rows [start, stop) as clients of this job see them, numbered from 0."""
        labels = enumerate(self._labels[start:stop])
        if self._shares is None:
            return [{"prediction_id": f"{job_id}:{n}", "value": value} for n, value in labels]
        return [
            {
                "prediction_id": f"{job_id}:{n}",
                "label": label,
                "probabilities": dict(zip(self._names, self._shares[start + n], strict=True)),
            }
            for n, label in labels
        ]


def class_name(label: object) -> str:
    """A class as a JSON key or a column's name."""
    return str(label).lower() if isinstance(label, bool) else str(label)


def prediction_batch(job_id: str, said: Prediction, start: int) -> pa.RecordBatch:
    """A prediction as columns: `prediction_id`, numbered from `start`, then `label` and `probability_<class>`, or `value`."""
    numbers = pa.arange(start, start + len(said.labels)).cast(pa.string())
    columns: dict[str, Any] = {"prediction_id": pc.binary_join_element_wise(pa.scalar(job_id), numbers, ":")}
    if said.probabilities is None:
        columns["value"] = pa.array(said.labels)
    else:
        columns["label"] = pa.array(said.labels)
        columns |= {f"probability_{class_name(c)}": pa.array(said.probabilities[:, k]) for k, c in enumerate(said.classes)}
    return pa.RecordBatch.from_pydict(columns)
