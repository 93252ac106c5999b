"""Our stack, started as users start it, with everything on: tokens, validation, a ledger that is synced, the prediction log."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import joblib
import msgspec
import skops.io

from benchmarks.chaos.servers import Postgres
from benchmarks.goals.carry import Wire
from benchmarks.load import Failed, Later, http
from benchmarks.peers.peer import MODELS, Peer
from benchmarks.stack import Stack, until
from ml.generator import generate
from ml.model_file import TRUSTED

ESTIMATORS = {
    "lr": 'estimator = "sklearn.linear_model.LogisticRegression"',
    "rf": 'estimator = "sklearn.ensemble.RandomForestClassifier"\nestimator_args = { n_estimators = 100 }',
}
PROBLEM = """\
task = "binary"
label = "y"
metric = "accuracy"
threshold = 0.5
scale = false
{estimator}
[features]
{features}
"""
TRAINING_ROWS, NOISE, SEED = 2_000, 0.05, 7
SETTINGS = {"CHECK_INTERVAL_SECONDS": "30", "MAX_BODY_MB": "1024"}


class _Prediction(msgspec.Struct):
    probabilities: dict[str, float]


class _Result(msgspec.Struct):
    predictions: list[_Prediction]


class _Job(msgspec.Struct):
    id: str
    status: str
    result: _Result | None
    error: dict[str, object] | None


_decode = msgspec.json.Decoder(_Job).decode


@dataclass(frozen=True, slots=True)
class _Accepting:
    """Posts and takes the 202 for all that it wants."""

    key: str
    stack: Stack

    def ask(self, model: str, row: Sequence[float]) -> bytes:
        return _post(model, row, f"Authorization: Bearer {self.key}")

    def read(self, status: int, body: bytes) -> None:
        if status != 202:
            raise Failed(f"{status}: {body[:200]!r}")

    def settle(self) -> None:
        """Until no job is queued or running; and none may have failed."""
        with self.stack.client() as client:
            until(lambda: not any(_listed(client, status) for status in ("queued", "running")), 120, "the backlog is done")
            for status in ("failed", "dead"):
                if found := _listed(client, status):
                    raise RuntimeError(f"jobs have {status}: {found[0]}")


class Ours(Peer):
    """The embedded stack; a lone worker process predicts.

    Args:
        postgres: keep the ledger on a PostgreSQL server of the bench's own instead of SQLite.
        also: further variables of its environment.
    """

    def __init__(self, postgres: bool = False, also: Mapping[str, str] | None = None) -> None:
        self.name = "Continual ML, PostgreSQL" if postgres else "Continual ML, SQLite"
        self.about = "as `make up` starts it, `Prefer: wait`; " + (
            "PostgreSQL with its defaults (fsync, synchronous_commit on)" if postgres else "SQLite in WAL mode, synchronous=FULL"
        )
        self._wants_postgres, self._also = postgres, dict(also or {})
        self._postgres: Postgres | None = None
        self._key = ""

    def start(self, folder: Path, models: Path) -> None:
        """Start it, let it train both models, and hand its fitted estimators to the others, unless they are there already."""
        problems = folder / "problems"
        problems.mkdir(parents=True)
        for name, estimator in ESTIMATORS.items():
            declare(problems, name, estimator, 2)
        declare(problems, "wide", ESTIMATORS["lr"], 20)
        settings = SETTINGS | self._also
        if self._wants_postgres:
            folder.chmod(0o711)  # its user must find its own folder
            self._postgres = Postgres(folder / "postgres")
            self._postgres.start()
            settings["DATABASE_URL"] = self._postgres.url
        self.stack = Stack(folder / "stack", PROBLEMS_DIR=str(problems), **settings)
        self.stack.start()
        self.port, self._key = self.stack.port, (self.stack.data / "api_key").read_text().strip()
        self.check_listener()
        with self.stack.client(timeout_s=120) as client:
            for name in MODELS:
                rows, labels = generate(TRAINING_ROWS, 2, NOISE, "none", 0.0, SEED)
                upload(client, name, "x1,x2,y", [f"{a!r},{b!r},{y}" for (a, b), y in zip(rows.tolist(), labels, strict=True)])
                train_first(client, name)
        for name in MODELS:
            if not (models / f"{name}.joblib").exists():
                joblib.dump(self.estimators(name)[-1], models / f"{name}.joblib")

    def estimators(self, model: str) -> list[Any]:
        """The fitted estimators of its versions, oldest first, from their files; nothing is prepared before them here."""
        files = (self.stack.data / "artifacts" / "models" / model).glob("*.skops")
        ordered = sorted(files, key=lambda file: file.stat().st_mtime)
        return [skops.io.load(file, trusted=sorted(TRUSTED)).steps[-1][1] for file in ordered]

    def wire(self) -> Wire:
        """Where bulk goes."""
        return Wire(self.port, self._key)

    def stop(self) -> None:
        """Ctrl-C."""
        self.stack.stop()
        if self._postgres is not None:
            self._postgres.remove()

    def roots(self) -> list[int]:
        """The supervisor, and the database server."""
        return [*self.stack.mains("embedded"), *([self._postgres.pid] if self._postgres is not None else [])]

    def ask(self, model: str, row: Sequence[float]) -> bytes:
        """POST the row, and wait for its end."""
        return _post(model, row, f"Authorization: Bearer {self._key}", "Prefer: wait=30")

    def read(self, status: int, body: bytes) -> float | Later:
        """The job at its end; where all waiting places were taken, its id."""
        if status not in (200, 202):
            raise Failed(f"{status}: {body[:200]!r}")
        job = _decode(body)
        if job.result is not None:
            return job.result.predictions[0].probabilities["1"]
        if job.status in ("queued", "running"):
            return Later(http("GET", f"/jobs/{job.id}?wait=30", b"", f"Authorization: Bearer {self._key}"))
        raise Failed(f"a job is {job.status}: {job.error}")

    def accepting(self) -> _Accepting:
        """POST without `Prefer`."""
        return _Accepting(self._key, self.stack)


def declare(folder: Path, name: str, estimator: str, features: int) -> None:
    """Write a problem with numeric features x1, x2, …."""
    lines = "\n".join(f'x{n} = "number"' for n in range(1, features + 1))
    (folder / f"{name}.toml").write_text(PROBLEM.format(estimator=estimator, features=lines))


def upload(client: httpx.Client, model: str, header: str, lines: Sequence[str], **query: str) -> None:
    """Post labelled rows as CSV, and wait until they are in.

    Raises:
        RuntimeError: the job did not succeed.
    """
    headers = {"Content-Type": "text/csv", "Prefer": "wait=60"}
    answer = client.post("/datasets", params={"model": model, **query}, content="\n".join([header, *lines]), headers=headers)
    finished(client, answer)


def finished(client: httpx.Client, answer: httpx.Response) -> dict[str, object]:
    """The job that a POST made, at its end.

    Raises:
        RuntimeError: it was refused, or did not succeed.
    """
    if answer.status_code not in (200, 202):
        raise RuntimeError(f"{answer.status_code}: {answer.text[:300]}")
    job: dict[str, object] = answer.json()
    while job["status"] in ("queued", "running"):
        job = client.get(f"/jobs/{job['id']}", params={"wait": 60}).json()
    if job["status"] != "succeeded":
        raise RuntimeError(f"a job is {job['status']}: {job['error']}")
    return job


def check(client: httpx.Client, model: str) -> dict[str, object]:
    """The job of a check that was asked for, at its end."""
    return finished(client, client.post(f"/models/{model}/checks", headers={"Prefer": "wait=60"}))


def train_first(client: httpx.Client, model: str) -> dict[str, object]:
    """See to it that the model's first training is done: beat's check may have come before ours. The job, at its end."""
    check(client, model)
    until(lambda: trainings(client, model), 60, f"a training of {model}")
    return finished(client, client.get(f"/jobs/{trainings(client, model)[0]}", params={"wait": 60}))


def trainings(client: httpx.Client, model: str) -> list[str]:
    """Ids of the model's trainings, newest first."""
    return [job["id"] for job in client.get("/jobs", params={"kind": "train", "model": model, "limit": 100}).json()["jobs"]]


def _listed(client: httpx.Client, status: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = client.get("/jobs", params={"kind": "predict", "status": status, "limit": 1}).json()["jobs"]
    return found


def _post(model: str, row: Sequence[float], *headers: str) -> bytes:
    return http("POST", "/predict", json.dumps({"model": model, "instances": [list(row)]}).encode(), *headers)
