"""A dead letter can be posted again; what ended stays as it ended."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from settings import Settings
from storage import claims, ledger
from storage.artifacts import Artifacts
from storage.database import Database
from storage.ledger import Outcome
from storage.schema import jobs
from tests.api.conftest import Ask


def end(database: Database, job_id: str, status: str) -> None:
    """As a worker would: claimed, and failed by its own fault, or dead."""
    with database.begin() as tx:
        claims.claim(tx, [job_id], "w", "t", 0.0, 30.0)
        ledger.finish(tx, "w", [Outcome(job_id, "failed", error=ledger.error_json("model_error", "No.", 1))], 1.0)
        tx.execute(update(jobs).where(jobs.c.id == job_id).values(status=status))


def posted(ask: Ask, kind: str = "predict") -> str:
    if kind == "check":
        return str(ask("POST", "/models/plane/checks").get_json()["id"])
    return str(ask("POST", "/predict", json={"model": "plane", "instances": [[1.0, 2.0]]}).get_json()["id"])


@pytest.mark.parametrize(("status", "queue"), [("failed", "predict"), ("dead", "quarantine")])
def test_a_job_that_ended_badly_is_posted_again_with_its_input(ask: Ask, database: Database, status: str, queue: str) -> None:
    """202 with a new job on the right queue; the old one is as it was; a second retry finds the first."""
    old = posted(ask)
    end(database, old, status)
    answer = ask("POST", f"/jobs/{old}/retry")
    new = answer.get_json()
    assert answer.status_code == 202 and answer.headers["Location"] == f"/jobs/{new['id']}"
    assert new["id"] != old and new["status"] == "queued" and new["kind"] == "predict"
    with database.read() as tx:
        rows = {row.id: row for row in tx.execute(jobs.select().where(jobs.c.id.in_([old, new["id"]])))}
    assert rows[new["id"]].payload == rows[old].payload is not None
    assert (rows[new["id"]].queue, rows[old].status) == (queue, status)
    again = ask("POST", f"/jobs/{old}/retry")
    assert again.get_json()["id"] == new["id"] and again.headers["Idempotent-Replayed"] == "true"


def test_a_table_is_shared_with_the_new_job(ask: Ask, database: Database, settings: Settings) -> None:
    """The old job's files go with it, sooner than the new one's; once they have, there is nothing to retry: 409, and no rest."""
    artifacts = Artifacts(settings.data_dir / "artifacts")
    sent = ask("POST", "/predict?model=plane", data=b"x1,x2\n1,2\n", content_type="text/csv")
    old = str(sent.get_json()["id"])
    end(database, old, "failed")
    new = str(ask("POST", f"/jobs/{old}/retry").get_json()["id"])
    assert ask("POST", f"/jobs/{old}/retry").get_json()["id"] == new
    assert {path.name for path in artifacts.path("bodies").iterdir()} == {old, new}
    artifacts.remove(f"bodies/{old}")
    with database.read() as tx:
        asked = tx.execute(select(jobs.c.artifact).where(jobs.c.id == new)).scalar_one()
    assert asked == f"bodies/{new}/table.csv"
    assert artifacts.path(asked).read_bytes() == b"x1,x2\n1,2\n"
    end(database, new, "dead")
    artifacts.remove(f"bodies/{new}")
    assert ask("POST", f"/jobs/{new}/retry").status_code == 409
    assert list(artifacts.path("bodies").iterdir()) == []


def test_what_has_not_ended_badly_cannot_be_retried(ask: Ask, database: Database) -> None:
    """409 for a queued job, and for a check: the loop asks for those by itself; 404 for a stranger."""
    assert ask("POST", f"/jobs/{posted(ask)}/retry").status_code == 409
    check = posted(ask, "check")
    end(database, check, "dead")
    assert ask("POST", f"/jobs/{check}/retry").status_code == 409
    assert ask("POST", "/jobs/0b5c9e0e-0000-4000-8000-000000000000/retry").status_code == 404
