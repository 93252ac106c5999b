"""Tables of labels at the door: a job that names its file, and what is refused before there is one."""

from __future__ import annotations

import msgspec
import pytest
from flask import Flask

from storage import coverage, jobs
from storage.checks import Check, add
from storage.database import Database
from storage.ids import first_id, new_id
from tests.api.conftest import Ask
from tests.api.hand import Hand
from tests.api.test_accepting import count

CSV = "text/csv"
TYPES = {CSV: "csv", "application/vnd.apache.parquet": "parquet", "application/vnd.apache.arrow.stream": "arrow"}


@pytest.mark.parametrize("type_", TYPES)
def test_a_table_of_labels_is_an_ingest_job(ask: Ask, database: Database, app: Flask, type_: str) -> None:
    """202; the payload says that these are labels, the file holds the bytes as they came; the same key is the same job."""
    sent = {"data": b"prediction_id,label\nx:0,1\n", "content_type": type_, "headers": {"Idempotency-Key": "k"}}
    answer = ask("POST", "/feedback", **sent)
    said = answer.get_json()
    assert (answer.status_code, said["kind"], said["model"]) == (202, "ingest", "-")
    with database.read() as tx:
        job = jobs.get(tx, said["id"])
    assert job is not None
    assert msgspec.json.decode(job.payload or b"") == {"labels": True, "format": TYPES[type_], "job_id": None}
    assert app.extensions["house"].artifacts.path(str(job.artifact)).read_bytes() == sent["data"]
    assert ask("POST", "/feedback", **sent).get_json()["id"] == said["id"]


def test_a_jobs_rows_are_labelled_where_it_has_predictions(ask: Ask, hand: Hand, database: Database) -> None:
    """404 for none such, 409 while it has none, else the job is of its model."""
    job = ask("POST", "/predict", json={"model": "plane", "instances": [[1, 2]]}).get_json()["id"]
    sent = {"data": b"row,label\n0,1\n", "content_type": CSV}
    assert ask("POST", f"/feedback?job_id={job}", **sent).status_code == 409
    assert ask("POST", "/feedback?job_id=nope", **sent).status_code == 404
    assert count(database) == 1
    hand.work()
    answer = ask("POST", f"/feedback?job_id={job}", **sent)
    assert (answer.status_code, answer.get_json()["model"]) == (202, "plane")


def test_coverage_and_delay_are_shown_as_of_the_last_check(ask: Ask, database: Database) -> None:
    """In the status and in the metrics; null before there was a check."""
    assert ask("GET", "/model-status?model=plane").get_json()["labels"] is None
    told = {"days": 7, "predicted": 10, "labelled": 4, "coverage": 0.4, "delay_s": {"p50": 1.5, "p90": 60.0}}
    with database.begin() as tx:
        add(tx, Check(new_id(2.0), "job", "plane", 2.0, {"labels": told}))
        assert coverage.count(tx, "plane", 2.0, first_id(2.0))
    assert ask("GET", "/model-status?model=plane").get_json()["labels"] == told
    text = ask("GET", "/metrics").get_data(as_text=True)
    assert 'continual_label_coverage{model="plane"} 0.4' in text
    assert 'continual_label_delay_seconds{model="plane",quantile="0.9"} 60.0' in text
