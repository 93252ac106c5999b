"""A hundred swaps of the champion under load: a rollback back, a move of the alias in MLflow forth, and nothing may fail."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import httpx

from benchmarks.goals.goal import Goal
from benchmarks.goals.learning import drift, make, version_of
from benchmarks.load import Crowd, Failed, Later, Taken
from benchmarks.peers.ours import Ours
from benchmarks.stack import until

MODEL, ROW, CLIENTS, TOLERANCE = "swapped", (0.5, -0.25), 8, 1e-9


class _Either:
    """Asks for one row, and takes the answer of any version that exists, if it is that version's."""

    def __init__(self, ours: Ours, expected: Sequence[float]) -> None:
        self._ours, self._expected = ours, expected

    def ask(self, model: str, row: Sequence[float]) -> bytes:
        return self._ours.ask(model, row)

    def read(self, status: int, body: bytes) -> Later | None:
        said = self._ours.read(status, body)
        if isinstance(said, Later):
            return said
        if not any(abs(said - each) < TOLERANCE for each in self._expected):
            raise Failed(f"an answer of no version: {said}, expected one of {self._expected}")
        return None


def goals(ours: Ours, client: httpx.Client, swaps: int) -> list[Goal]:
    """One line."""
    make(client, MODEL)
    drift(client, MODEL)
    expected = [float(estimator.predict_proba([ROW])[0, 1]) for estimator in ours.estimators(MODEL)]
    old, new = "1", version_of(client, MODEL)
    until(lambda: _alias(ours) == new, 30, "MLflow names the version that serves")  # else this push would undo our first move
    over, rounds = threading.Event(), list[Taken]()
    load = threading.Thread(target=_load, args=(_Either(ours, expected), ours.port, over, rounds), daemon=True)
    load.start()
    try:
        for _ in range(swaps // 2):
            client.post(f"/models/{MODEL}/rollback").raise_for_status()
            until(lambda: version_of(client, MODEL) == old and _alias(ours) == old, 30, "the version before serves")
            _set_alias(ours, new)
            until(lambda: version_of(client, MODEL) == new, 30, "the version that MLflow names serves")
    finally:
        over.set()
        load.join()
    failed, asked = sum(each.failed for each in rounds), sum(len(each.done) for each in rounds)
    faults = "; ".join(sorted(fault for each in rounds for fault in each.faults)[:2])
    measured = f"{failed} of {asked:,}{f' ({faults})' if faults else ''}"
    return [Goal(f"requests failed during {swaps} swaps under load", "0", measured, failed == 0)]


def _load(talk: _Either, port: int, over: threading.Event, rounds: list[Taken]) -> None:
    while not over.is_set():
        rounds.append(Crowd(talk, port, MODEL, [ROW], [0.0]).closed(CLIENTS, 1.0))


def _mlflow(ours: Ours) -> str:
    return f"http://127.0.0.1:{ours.stack.env['MLFLOW_PORT']}/api/2.0/mlflow/registered-models/alias"


def _alias(ours: Ours) -> str:
    asked = {"name": MODEL, "alias": "champion"}
    answer = httpx.get(_mlflow(ours), params=asked, trust_env=False, timeout=10)
    return str(answer.json()["model_version"]["version"]) if answer.status_code == 200 else ""  # 400: there is none yet


def _set_alias(ours: Ours, version: str) -> None:
    body = {"name": MODEL, "alias": "champion", "version": version}
    httpx.post(_mlflow(ours), json=body, trust_env=False, timeout=10).raise_for_status()
