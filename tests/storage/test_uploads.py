"""A table as it was sent is kept until its job has succeeded, and an hour."""

from __future__ import annotations

from pathlib import Path

import msgspec

from storage import claims, jobs, ledger, predictions, uploads
from storage.artifacts import Artifacts
from storage.database import Database
from storage.jobs import NewJob, Status
from storage.ledger import Outcome
from storage.predictions import Logged
from tests.storage.conftest import NOW

LATER = NOW + 2 * uploads.KEPT_S


def sent(db: Database, artifacts: Artifacts, table: str, status: Status | None = "succeeded", rows: str | None = None) -> str:
    """A bulk job with a table that ended so (None: not yet) a minute after it came; `rows` is where its prediction's rows lie.

    Returns the table's name.
    """
    new = NewJob.make("predict" if rows else "ingest", "default", "bulk", NOW, 4)
    name = f"bodies/{new.id}/{table}"
    artifacts.write(name, [b"x"])
    with db.begin() as tx:
        jobs.add(tx, [msgspec.structs.replace(new, artifact=name)])
        claims.claim(tx, [new.id], f"w{new.id}", "t", NOW, 30)
        if status is not None:
            ledger.finish(tx, f"w{new.id}", [Outcome(new.id, status)], NOW + 60)
        if rows:
            artifacts.write(f"bodies/{new.id}/{rows}", [b"x"])
            predictions.log(tx, [Logged(new.id, "default", "1", 9, None, f"bodies/{new.id}/{rows}", NOW + 60)])
    return name


def forgotten(db: Database, artifacts: Artifacts, before: float) -> set[str]:
    found: set[str] = set()
    for some in uploads.lying(artifacts, before):
        with db.begin() as tx:
            found |= set(uploads.forget(tx, some, before))
    return found


def test_what_a_job_has_made_of_its_table_takes_its_place(db: Database, tmp_path: Path) -> None:
    """The job names it no longer. Tables of jobs that go on or failed stay, as does one whose rows were read where it lies."""
    artifacts = Artifacts(tmp_path)
    spent = {
        sent(db, artifacts, "table.csv"),
        sent(db, artifacts, "table.parquet", rows="rows.arrow"),
        sent(db, artifacts, "table.arrow", status="cancelled"),
    }
    needed = {
        sent(db, artifacts, "table.csv", status=None),
        sent(db, artifacts, "table.csv", status="failed"),
        sent(db, artifacts, "table.arrow", rows="table.arrow"),
    }
    assert forgotten(db, artifacts, LATER) == spent
    with db.read() as tx:
        found = jobs.get_many(tx, [name.split("/")[1] for name in spent | needed])
    assert {job.artifact for job in found.values()} == needed | {None}


def test_what_was_forgotten_by_a_sweeper_that_was_killed_then_is_removed_by_the_next(db: Database, tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    spent = {sent(db, artifacts, "table.csv")}
    assert forgotten(db, artifacts, LATER) == forgotten(db, artifacts, LATER) == spent
    for name in spent:
        artifacts.remove(name)
    assert forgotten(db, artifacts, LATER) == set()


def test_a_young_one_stays(db: Database, tmp_path: Path) -> None:
    """By its job's end, not by when it was sent."""
    artifacts = Artifacts(tmp_path)
    sent(db, artifacts, "table.csv")
    assert forgotten(db, artifacts, NOW - 1) == forgotten(db, artifacts, NOW + 59) == set()


def test_drafts_and_rows_are_no_uploads(db: Database, tmp_path: Path) -> None:
    """And many tables are told of some at a time."""
    artifacts = Artifacts(tmp_path)
    names = {f"bodies/0b5c9e0e-0000-4000-8000-{n:012d}/table.csv" for n in range(uploads.AT_ONCE + 1)}
    for name in [*names, "bodies/a/table.csv.b0.part", "bodies/b/rows.bin", "bodies/c/rows.arrow"]:
        artifacts.write(name, [b"x"])
    told = list(uploads.lying(artifacts, NOW * 10))
    assert sorted(map(len, told)) == [1, uploads.AT_ONCE]
    assert {name for some in told for name in some.values()} == names
