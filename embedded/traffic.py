"""A client that never pauses: it asks for predictions, and tells the true labels a little later."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import httpx

from embedded.world import World

ROWS = 25  # a request
REQUESTS_PER_S = 16.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's end: when (epoch seconds), by which version, and how many of its rows were right."""

    at: float
    version: str | None
    right: int
    failure: str = ""


class Traffic(threading.Thread):
    """Posts rows of a world to the API until it is told to end; a failed request is kept, not hidden."""

    def __init__(self, client: httpx.Client, world: World) -> None:
        super().__init__(name="traffic", daemon=True)
        self.client = client
        self.world = world
        self.answers: list[Answer] = []
        self._end = threading.Event()

    def run(self) -> None:
        """Ask, compare, tell the labels; sixteen times a second at most."""
        while not self._end.is_set():
            began = time.monotonic()
            self.answers.append(self._ask())
            self._end.wait(max(0.0, 1.0 / REQUESTS_PER_S - (time.monotonic() - began)))

    def end(self) -> None:
        """Finish the request under way, and end."""
        self._end.set()
        self.join(timeout=60.0)

    def _ask(self) -> Answer:
        rows = self.world.draw(ROWS)
        try:
            posted = self.client.post(
                "/predict",
                json={"model": "default", "instances": rows.instances},
                headers={"Prefer": "wait=30"},
            )
            job = posted.json()
            if job.get("status") != "succeeded":
                return Answer(time.time(), None, 0, failure=f"{posted.status_code}: {posted.text[:200]}")
            told = self.client.post("/feedback", json={"job_id": job["id"], "labels": rows.labels})
            told.raise_for_status()
        except httpx.HTTPError as failed:
            return Answer(time.time(), None, 0, failure=repr(failed))
        labels = [prediction["label"] for prediction in job["result"]["predictions"]]
        right = sum(label == truth for label, truth in zip(labels, rows.labels, strict=True))
        return Answer(time.time(), job["result"]["version"], right)


def accuracy(answers: list[Answer]) -> float:
    """The share of right rows among the requests that were answered; nan if none was."""
    answered = [answer for answer in answers if not answer.failure]
    return sum(answer.right for answer in answered) / (ROWS * len(answered)) if answered else float("nan")
