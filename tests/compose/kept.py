"""What a stack of containers must still say after a restore, and load while it is backed up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.drills.told import listed, probe
from tests.compose.containers import Project


@dataclass(frozen=True, slots=True)
class Told:
    """What a stack tells of itself that must be the same after a restore."""

    decisions: list[dict[str, Any]]
    versions: list[dict[str, Any]]
    labels: list[str]
    answers: tuple[str, list[dict[str, Any]]]


def told(project: Project) -> Told:
    """What it tells now."""
    return Told(
        decisions=listed(project.client, "default", "decisions"),
        versions=listed(project.client, "default", "versions"),
        labels=project.sql("select l::text from labels l order by 1"),
        answers=probe(project.client, "default"),
    )


@contextmanager
def load(project: Project) -> Iterator[list[str]]:
    """Jobs are posted all the while; their ids."""
    ids: list[str] = []
    stop = threading.Event()

    def post() -> None:
        while not stop.wait(0.02):
            ids.extend(project.predict(1))

    poster = threading.Thread(target=post)
    poster.start()
    try:
        yield ids
    finally:
        stop.set()
        poster.join()


def label(project: Project, count: int) -> None:
    """Labels for the rows of this many jobs."""
    for job in project.predict(count):
        assert project.statuses([job]) == {"succeeded"}
        answer = project.client.post("/feedback", json={"labels": [{"prediction_id": f"{job}:0", "label": 1}]})
        assert answer.json()["accepted"] == 1
