"""The workers' rooms without their processes: a real ledger, real models, a clock that tests own, and no broker at all."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from loguru import logger
from numpy.typing import NDArray

from jobs.bell import Bell
from jobs.kinds import QUEUES, Kind
from problems.catalog import builtin
from problems.declaration import declared, parse_problem
from problems.rows import PackedRows
from registry.memory import MemoryRegistry
from settings import read
from storage import checks, decisions, incidents, jobs, labels, ledger, models
from storage.artifacts import Artifacts
from storage.database import Database
from storage.jobs import Job
from storage.migrate import migrate
from storage.models import Model
from workers import tasks, tick
from workers.lease import Leases
from workers.room import Room

NOWHERE = "redis://127.0.0.1:1/0"  # the loop needs the ledger, not the broker


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class House:
    """One machine's workers, played in this process: whatever is queued is carried out when asked."""

    def __init__(self, folder: Path, registry: MemoryRegistry | None = None, **settings: Any) -> None:
        self.clock = Clock(1_795_000_000.0)
        self.settings = read(_env_file=None, data_dir=folder, redis_url=NOWHERE, check_interval_seconds=30, **settings)
        self.db = Database(self.settings.ledger_url)
        migrate(self.db)
        self.registry = registry or MemoryRegistry()
        artifacts = Artifacts(folder / "artifacts")
        self.room = Room(
            settings=self.settings,
            db=self.db,
            bell=Bell(NOWHERE, on_fault=logger.debug),
            artifacts=artifacts,
            registry=self.registry,
            leases=Leases(self.db, "test@here", "", 30, self.clock),
            clock=self.clock,
        )

    def declare(self, name: str = "default", **keys: Any) -> None:
        problem = builtin() if not keys else parse_problem(name, keys)
        with self.db.begin() as tx:
            models.declare(tx, name, declared(problem), "declared", self.clock())

    def post(self, kind: Kind, model: str = "default", payload: bytes | None = None, **more: Any) -> str:
        new = self.room.new_job(kind, model, payload, **more)
        with self.db.begin() as tx:
            jobs.add(tx, [new])
        return new.id

    def settle(self) -> None:
        """Carry out what is queued and due, and what follows from it, until nothing is left."""
        for _ in range(100):
            with self.db.read() as tx:
                queued = [bell for queue in QUEUES for bell in ledger.all_queued(tx, 1000, queue)]
                ready = [bell for bell in queued if not self._waits(jobs.get(tx, bell.job_id))]
            if not ready:
                return
            for bell in sorted(ready, key=lambda bell: bell.job_id):
                tasks.carry(self.room, cast(Kind, bell.kind), [bell.job_id], str(uuid.uuid4()))
        raise AssertionError("the work has no end")

    def _waits(self, job: Job | None) -> bool:
        return job is None or job.task_id is not None or job.failures > 0

    def tick(self, seconds: float = 30.0) -> None:
        """Time passes, beat ticks, and all that follows is done."""
        self.clock.now += seconds
        tick.run(self.room)
        self.settle()

    def predict(self, rows: NDArray[np.float64], model: str = "default") -> str:
        """A finished prediction of these rows."""
        packed = PackedRows(len(rows), np.ascontiguousarray(rows, dtype=np.float64).tobytes())
        job_id = self.post("predict", model, packed.encode())
        self.settle()
        assert self.job(job_id).status == "succeeded", self.job(job_id).error
        return job_id

    def ingest(self, table: str | pa.Table, model: str = "default", **asked: Any) -> Job:
        """The job of an uploaded table, carried out: text is CSV, else it is Parquet."""
        format_ = "csv" if isinstance(table, str) else "parquet"
        name = f"bodies/{uuid.uuid4()}/table.{format_}"
        with self.room.artifacts.writing(name) as draft:
            if isinstance(table, str):
                draft.write_text(table)
            else:
                pa.parquet.write_table(table, draft)
        job_id = self.post("ingest", model, msgspec.json.encode({"format": format_, **asked}), artifact=name)
        self.settle()
        return self.job(job_id)

    def label(self, job_id: str, truth: Any, model: str = "default") -> None:
        given = [((job_id, row), msgspec.json.encode(int(label)).decode()) for row, label in enumerate(truth)]
        with self.db.begin() as tx:
            labels.store(tx, model, given, self.clock)

    def job(self, job_id: str) -> Job:
        with self.db.read() as tx:
            found = jobs.get(tx, job_id)
        assert found is not None
        return found

    def result(self, job_id: str) -> Any:
        return msgspec.json.decode(self.job(job_id).result or "null")

    def model(self, name: str = "default") -> Model:
        with self.db.read() as tx:
            found = models.get(tx, name)
        assert found is not None
        return found

    def checks(self, name: str = "default") -> list[Any]:
        """Results of the checks, oldest first."""
        with self.db.read() as tx:
            return [check.result for check in checks.listed(tx, name, 10_000, None).entries][::-1]

    def decisions(self, name: str = "default") -> Sequence[str]:
        with self.db.read() as tx:
            return [each.action for each in decisions.listed(tx, name, 1000, None).entries][::-1]

    def told(self) -> Sequence[tuple[str, str]]:
        """(title, state) of every incident, oldest first."""
        with self.db.read() as tx:
            return [(each.title, each.state) for each in incidents.listed(tx, 1000, None).entries][::-1]

    def trainings(self) -> list[Job]:
        with self.db.read() as tx:
            return jobs.listed(tx, "train", None, None, 1000, None).entries[::-1]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Workers on an empty ledger that knows the built-in problem."""
    monkeypatch.setattr("storage.ids._last", 0)
    made = House(tmp_path)
    made.declare()
    yield made
    made.room.close()
