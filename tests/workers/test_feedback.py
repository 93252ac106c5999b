"""Tables of labels: what is stored, what is refused whole, and that a lost worker costs no label and counts none twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from storage import labels
from storage.jobs import Job
from storage.labels import Labelled
from tests.workers.conftest import House
from workers import feedback


@pytest.fixture
def served(house: House) -> House:
    """A house whose built-in model has its first version."""
    house.tick()
    return house


def send(house: House, table: str | pa.Table, job_id: str | None = None) -> Job:
    """A finished job of this table of labels: text is CSV, else it is Parquet."""
    return house.ingest(table, labels=True, job_id=job_id)


def rows(house: House, count: int) -> str:
    """A prediction of so many rows."""
    return house.predict(np.random.default_rng(count).normal(size=(count, 2)))


HUNDRED = "row,label\n" + "".join(f"{row},1\n" for row in range(100))


def stored(house: House, job_id: str) -> list[Labelled]:
    with house.db.read() as tx:
        return labels.of_job(tx, job_id)


def told(job: Job) -> dict[str, Any]:
    assert job.status == "succeeded", job.error
    found: dict[str, Any] = msgspec.json.decode(job.result or "null")
    return found


def test_labels_by_prediction_are_stored_counted_and_put_in_order(served: House) -> None:
    """Accepted, repeated, changed within the table, without a label, of no prediction; positions in the table's order."""
    one, other, head = rows(served, 3), rows(served, 2), served.model().head
    lines = [f"{other}:1,1", f"{one}:0,0", f"{one}:0,1", f"{other}:1,1", f"{one}:2,", f"{one}:3,1", "nonsense,1"]
    found = told(send(served, "prediction_id,label,note\n" + "\n".join(f"{line},x" for line in lines) + "\n"))
    counts = {key: found[key] for key in ("labels", "accepted", "duplicate", "missing", "unknown_count")}
    assert counts == {"labels": 7, "accepted": 3, "duplicate": 1, "missing": 1, "unknown_count": 2}
    assert found["unknown"] == [f"{one}:3", "nonsense"]
    assert found["report"] == {"ignored_columns": ["note"]}
    (first,) = stored(served, one)
    assert (first.label, [before for before, _ in first.history]) == ("1", ["0"])
    with served.db.read() as tx:
        assert [job for *_, job in labels.between(tx, "default", head, head + 9)] == [other, one]


def test_a_bulk_job_is_labelled_by_row(served: House) -> None:
    """Parquet or CSV; numbers of other types are the classes that they equal."""
    job = rows(served, 4)
    assert told(send(served, pa.table({"row": [3, 1], "label": [1.0, None]}), job))["accepted"] == 1
    assert told(send(served, "label,row\n0,0\n1,2\n0,3\n", job))["accepted"] == 3
    assert [(each.row, each.label) for each in stored(served, job)] == [(0, "0"), (2, "1"), (3, "0")]


@pytest.mark.parametrize(
    ("table", "loc"),
    [
        ("prediction_id,label\n{job}:0,1\n{job}:1,7\n", ["label", "{job}:1"]),
        ("prediction_id,label\n{job}:0,1\n,1\n", ["row", 1, "prediction_id"]),
        ("prediction_id\n{job}:0\n", ["column", "label"]),
        ("row,label\n0,1\n", ["column", "prediction_id"]),
        ("prediction_id,label\n{job}:0,1\n{job}:1\n", ["row", 1]),
        ("prediction_id,label\n", ["body"]),
    ],
)
def test_a_table_with_a_fault_stores_nothing(served: House, table: str, loc: list[Any]) -> None:
    """The job fails, names the place, and none of its labels is there."""
    job = rows(served, 3)
    failed = send(served, table.replace("{job}", job))
    error = msgspec.json.decode(failed.error or "null")
    assert (failed.status, error["type"]) == ("failed", "invalid_rows")
    assert error["errors"][0]["loc"] == [part.replace("{job}", job) if isinstance(part, str) else part for part in loc]
    assert stored(served, job) == []


def test_a_row_that_is_no_number_is_named(served: House) -> None:
    failed = send(served, "row,label\n0,1\n-1,1\n", rows(served, 3))
    assert msgspec.json.decode(failed.error or "null")["errors"][0]["loc"] == ["row", 1, "row"]


def test_a_lost_worker_costs_no_label_and_counts_none_twice(served: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It dies in the third of five transactions; the next one goes on with the third, and the sums are those of one run."""
    monkeypatch.setattr(feedback, "BATCH", 20)
    job, head, record, calls = rows(served, 100), served.model().head, feedback._record, list[int]()

    def dying(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            record(*args)
            raise OSError("the worker is gone")  # its transaction is rolled back
        return record(*args)

    monkeypatch.setattr(feedback, "_record", dying)
    sent = send(served, HUNDRED, job)
    assert (sent.status, len(stored(served, job))) == ("queued", 40)
    served.clock.now += 60
    monkeypatch.setattr(House, "_waits", lambda *_: False)
    served.settle()
    found = told(served.job(sent.id))
    assert (found["accepted"], found["duplicate"], found["unknown_count"]) == (100, 0, 0)
    assert len(calls) == 6
    with served.db.read() as tx:
        assert [row for _, row, *_ in labels.between(tx, "default", head, head + 200)] == list(range(100))


def test_a_worker_that_lost_its_claim_stores_nothing_more(served: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is cancelled after the first transaction: the second one finds that out before it commits."""
    monkeypatch.setattr(feedback, "BATCH", 20)
    job, record = rows(served, 100), feedback._record

    def cancelled(*args: Any) -> Any:
        tx = args[-1]
        if args[4].done:
            tx.exec_driver_sql("UPDATE jobs SET status = 'cancelled' WHERE kind = 'ingest' AND status = 'running'")
        return record(*args)

    monkeypatch.setattr(feedback, "_record", cancelled)
    send(served, HUNDRED, job)
    assert len(stored(served, job)) == 20


def test_the_checked_copy_of_a_table_is_not_kept(served: House) -> None:
    sent = send(served, "row,label\n0,1\n", rows(served, 1))
    folder = Path(served.room.artifacts.path(str(sent.artifact))).parent
    assert list(served.room.artifacts.path(f"bodies/{sent.id}").parent.glob(f"{sent.id}/*.arrow")) == []
    assert [each.name for each in folder.iterdir()] == ["table.csv"]
