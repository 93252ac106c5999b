"""Peers that are task queues behind Flask: POST gives an id, the client polls for the result."""

from __future__ import annotations

import json
from collections.abc import Sequence

from benchmarks.load import Failed, Later, http
from benchmarks.peers.peer import CORES, Foreign
from embedded.broker import find_server
from embedded.ports import free_port

FRONT = "gunicorn, one process of 64 threads"


class Queue(Foreign):
    """Flask under gunicorn, a Redis without persistence, and workers as many as there are cores."""

    worker: tuple[str, ...]

    def __init__(self) -> None:
        super().__init__()
        self._broker = free_port()

    def environment(self) -> dict[str, str]:
        """Where its Redis is."""
        return {"BENCH_REDIS": f"redis://127.0.0.1:{self._broker}/0"}

    def commands(self) -> list[list[str]]:
        """Redis, the workers, the front."""
        redis = [find_server().path, "--port", str(self._broker), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        front = [
            "gunicorn", "--bind", f"127.0.0.1:{self.port}", "--worker-class", "gthread", "--workers", "1",
            "--threads", "64", "--keep-alive", "75", "--backlog", "2048", "--log-level", "error", "server:app",
        ]  # fmt: skip
        return [redis, *self.workers(), front]

    def workers(self) -> list[list[str]]:
        """The worker's command."""
        return [list(self.worker)]

    def ask(self, model: str, row: Sequence[float]) -> bytes:
        """POST the row."""
        return http("POST", f"/predict/{model}", json.dumps({"instances": [list(row)]}).encode())

    def read(self, status: int, body: bytes) -> float | Later:
        """An id at first, then the probabilities once they are there."""
        if status not in (200, 202):
            raise Failed(f"{status}: {body[:100]!r}")
        answer = json.loads(body)
        said = answer.get("probabilities")
        return float(said[0][1]) if said else Later(http("GET", f"/result/{answer['id']}"))


class NaiveCelery(Queue):
    """`delay()`, a result backend, a poll."""

    name, key = "naive Celery", "celery"
    about = f"{FRONT}; prefork, concurrency {CORES}, prefetch 16, no events, Redis as result backend"
    worker = (
        "celery", "-A", "server.celery", "worker", "--concurrency", str(CORES), "--loglevel", "ERROR",
        "--without-gossip", "--without-mingle", "--without-heartbeat",
    )  # fmt: skip


class Rq(Queue):
    """RQ with workers that do not fork for each job, the quickest it has."""

    name, key = "RQ", "rq"
    about = f"{FRONT}; {CORES} × SimpleWorker, no fork for each job"

    def workers(self) -> list[list[str]]:
        """One process a core."""
        worker = ["rq", "worker", "--worker-class", "rq.worker.SimpleWorker", "--quiet", "--url"]
        return [[*worker, f"redis://127.0.0.1:{self._broker}/0"] for _ in range(CORES)]


class Dramatiq(Queue):
    """Dramatiq with its result backend."""

    name, key = "Dramatiq", "dramatiq"
    about = f"{FRONT}; {CORES} processes × 4 threads, Redis as result backend"
    worker = ("dramatiq", "--processes", str(CORES), "--threads", "4", "server")
