"""What a stack tells of a model that must be the same after a restore."""

from __future__ import annotations

from typing import Any

import httpx

PROBE = [[0.1, 0.2], [-1.5, 0.3], [0.7071067811865476, -0.5], [3.0, -2.0]]


def probe(client: httpx.Client, model: str) -> tuple[str, list[dict[str, Any]]]:
    """The champion, and what it says to the last bit: JSON holds the shortest text of each double."""
    answer = client.post("/predict", json={"model": model, "instances": PROBE}, headers={"Prefer": "wait=60"})
    answer.raise_for_status()
    result = answer.json()["result"]
    said = [{key: value for key, value in each.items() if key != "prediction_id"} for each in result["predictions"]]
    return result["version"], said


def listed(client: httpx.Client, model: str, what: str) -> list[dict[str, Any]]:
    """The newest hundred of its `decisions` or `versions`."""
    found: list[dict[str, Any]] = client.get(f"/models/{model}/{what}?limit=100").json()[what]
    return found
