"""What became of the accepted jobs: asked over HTTP, held against the ledger's own records and a direct `predict_proba`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np
from sqlalchemy import func, select

from benchmarks.chaos.load import Posted
from ml.model_file import load
from storage import versions
from storage.database import FAULTS, Database
from storage.schema import datasets, jobs, predictions

OPEN = ("queued", "running")
TOLERANCE = 1e-9


@dataclass
class Row:
    """One line of the table."""

    fault: str
    system: str
    accepted: int = 0
    rejected: int = 0
    lost: int = 0
    false_failures: int = 0
    recorded_twice: int = 0
    executed_twice: int = 0
    late_posts: int = 0
    slowest_post_s: float = 0.0
    done_s: float = 0.0
    load: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """Whether the promise was kept."""
        return not (self.lost or self.false_failures or self.recorded_twice or self.late_posts)


def wait_done(url: str, ids: Sequence[str], seconds: float) -> float:
    """Seconds until none of these jobs is open any more, at most `seconds`."""
    database, began, wanted = Database(url, pool_size=1), time.monotonic(), set(ids)
    while _open(database, wanted) and time.monotonic() - began < seconds:
        time.sleep(0.25)
    database.close()
    return time.monotonic() - began


def _open(database: Database, wanted: set[str]) -> set[str]:
    """Those of the wanted jobs that are open; all of them while the database is away."""
    try:
        with database.read() as tx:
            return wanted & set(tx.execute(select(jobs.c.id).where(jobs.c.status.in_(OPEN))).scalars())
    except FAULTS:
        return wanted


class Records(Protocol):
    """What the ledger itself says, past the API."""

    def model(self, version: str) -> tuple[Path, str] | None:
        """The file of a version of the built-in model, and its SHA-256."""

    def entries(self) -> Counter[str]:
        """How many records each job has left: predictions logged, datasets made."""


class LedgerRecords:
    """The records of a ledger that this process can open.

    Args:
        folders: where its artifacts lie; a fault may have put some aside.
    """

    def __init__(self, database: Database, folders: Sequence[Path]) -> None:
        self._database, self._folders = database, folders

    def model(self, version: str) -> tuple[Path, str] | None:
        """See `Records.model`."""
        with self._database.read() as tx:
            found = versions.get(tx, "default", version)
        files = [folder / found.artifact for folder in self._folders] if found else []
        return next(((file, found.sha256) for file in files if found and file.exists()), None)

    def accepted(self, kind: str) -> int:
        """How many jobs of this kind there are."""
        with self._database.read() as tx:
            return int(tx.execute(select(func.count()).select_from(jobs).where(jobs.c.kind == kind)).scalar_one())

    def entries(self) -> Counter[str]:
        """See `Records.entries`."""
        with self._database.read() as tx:
            logged = tx.execute(select(predictions.c.job_id)).scalars()
            made = tx.execute(select(datasets.c.job_id)).scalars()
            return Counter([*logged, *made])


@contextmanager
def records_of(url: str, *artifacts: Path) -> Iterator[LedgerRecords]:
    """The records of the ledger at `url`, whose files lie in the folders `artifacts`."""
    database = Database(url, pool_size=2)
    try:
        yield LedgerRecords(database, artifacts)
    finally:
        database.close()


def judge(row: Row, posted: Sequence[Posted], client: httpx.Client, records: Records) -> None:
    """Fill the row's counts."""
    accepted = [each for each in posted if each.job_id]
    row.accepted, row.rejected = len(accepted), len(posted) - len(accepted)
    row.slowest_post_s = max((each.seconds for each in posted), default=0.0)
    known = _jobs(client, [each.job_id for each in accepted if each.job_id])
    row.lost = sum(1 for each in accepted if known.get(each.job_id, {"status": "queued"})["status"] in OPEN)
    failed = [job for job in known.values() if job["status"] not in ("succeeded", *OPEN)]
    row.false_failures = len(failed)
    row.notes += sorted({f"{job['kind']} {job['status']}: {(job['error'] or {}).get('type')}" for job in failed})
    row.notes += [f"{count}× {why}" for why, count in Counter(p.refusal for p in posted if p.refusal).items()]
    row.executed_twice = sum(1 for job in known.values() if job["attempt"] > 1)
    wrong = _wrong(accepted, known, records)
    row.recorded_twice = _twice(accepted, known, records, client)
    if wrong:
        row.false_failures += wrong
        row.notes.append(f"{wrong} answers are not what predict_proba says")


def _wrong(accepted: Sequence[Posted], known: dict[str | None, Any], records: Records) -> int:
    """How many predictions differ from what the version that answered says by itself."""
    by_version: dict[str, list[tuple[list[list[float]], Any]]] = {}
    for each in accepted:
        job = known.get(each.job_id)
        if job and job["status"] == "succeeded" and job["kind"] == "predict":
            rows = each.rows * 10 if each.kind == "table" else each.rows
            by_version.setdefault(job["result"]["version"], []).append((rows, job["result"]["predictions"]))
    return sum(_differing(records, version, answers) for version, answers in by_version.items())


def _differing(records: Records, version: str, answers: list[tuple[list[list[float]], Any]]) -> int:
    found = records.model(version)
    if found is None:
        return len(answers)
    model = load(*found)
    classes = [str(c) for c in model.classes_]
    count = 0
    for rows, said in answers:
        truth = model.predict_proba(np.asarray(rows))
        given = np.array([[each["probabilities"][c] for c in classes] for each in said])
        count += int(truth.shape != given.shape or not np.allclose(truth, given, rtol=0, atol=TOLERANCE))
    return count


def _twice(accepted: Sequence[Posted], known: dict[str | None, Any], records: Records, client: httpx.Client) -> int:
    """Records beyond one a job: predictions logged, datasets made; and terminal jobs that have changed since they were read."""
    ids = [each.job_id for each in accepted if each.job_id]
    entries = records.entries()
    twice = sum(max(0, entries[job_id] - 1) for job_id in ids)
    ended = {job_id: job for job_id, job in known.items() if job_id and job["status"] not in OPEN}
    again = _jobs(client, list(ended))
    return twice + sum(1 for job_id, job in ended.items() if again.get(job_id) != job)


def _jobs(client: httpx.Client, ids: Sequence[str]) -> dict[str | None, Any]:
    """Those of the jobs that exist, as the API shows them."""
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda job_id: client.get(f"/jobs/{job_id}"), ids)
        return {job_id: answer.json() for job_id, answer in zip(ids, answers, strict=True) if answer.status_code == 200}
