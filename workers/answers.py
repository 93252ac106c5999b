"""Predictions as clients see them: a row each in JSON, columns in a file."""

from __future__ import annotations

from typing import Any

from ml.prediction import Prediction


def prediction_rows(job_id: str, said: Prediction, start: int, stop: int) -> list[dict[str, Any]]:
    """Rows [start, stop) of a prediction as clients see them, numbered from 0."""
    labels = said.labels[start:stop].tolist()
    if said.probabilities is None:
        return [{"prediction_id": f"{job_id}:{n}", "value": value} for n, value in enumerate(labels)]
    names = [class_name(each) for each in said.classes]
    shares = said.probabilities[start:stop].tolist()
    return [
        {
            "prediction_id": f"{job_id}:{n}",
            "label": label,
            "probabilities": dict(zip(names, row, strict=True)),
        }
        for n, (label, row) in enumerate(zip(labels, shares, strict=True))
    ]


def class_name(label: object) -> str:
    """A class as a JSON key or a column's name."""
    return str(label).lower() if isinstance(label, bool) else str(label)


def prediction_columns(said: Prediction) -> dict[str, Any]:
    """A prediction as columns: `label` and `probability_<class>`, or `value`."""
    if said.probabilities is None:
        return {"value": said.labels}
    shares = {f"probability_{class_name(each)}": said.probabilities[:, k] for k, each in enumerate(said.classes)}
    return {"label": said.labels, **shares}
