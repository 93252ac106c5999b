"""A job's life as a client sees it: waiting, events, cancelling, lists, results in every form."""

from __future__ import annotations

import csv
import io
import itertools
import json
import threading
import time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from flask import Flask

from storage.database import Database
from tests.api.conftest import Ask
from tests.api.hand import Hand

CSV, PARQUET, ARROW = "text/csv", "application/vnd.apache.parquet", "application/vnd.apache.arrow.stream"


def posted(ask: Ask, rows: int = 2, model: str = "plane") -> dict[str, Any]:
    """An accepted prediction of so many rows."""
    answer = ask("POST", "/predict", json={"model": model, "instances": [[n - 1, 0.5] for n in range(rows)]})
    assert answer.status_code == 202
    made: dict[str, Any] = answer.get_json()
    return made


def test_a_post_waits_for_its_job(ask: Ask, hand: Hand) -> None:
    """`Prefer: wait`: 200 with the job at its end, within a moment of it."""
    began = time.monotonic()
    with hand:
        body = {"model": "plane", "instances": [[1, 2]]}
        answer = ask("POST", "/predict", json=body, headers={"Prefer": "respond-async, wait=20"})
    assert (answer.status_code, answer.get_json()["status"]) == (200, "succeeded")
    assert answer.get_json()["result"]["predictions"][0]["label"] == 1
    assert time.monotonic() - began < 5


def test_a_wait_that_runs_out_is_202_for_a_post_and_200_for_a_get(ask: Ask) -> None:
    """Nobody works: the job as it is, after the time asked for."""
    began = time.monotonic()
    body = {"model": "plane", "instances": [[1, 2]]}
    answer = ask("POST", "/predict", json=body, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.get_json()["status"]) == (202, "queued")
    assert 0.9 < time.monotonic() - began < 3
    polled = ask("GET", answer.headers["Location"], query_string={"wait": "0.2"})
    assert (polled.status_code, polled.get_json()["status"]) == (200, "queued")


@pytest.mark.parametrize("prefer", ["wait=long", "wait=-1", "", "wait", "hurry", "wait=1.5"])
def test_a_preference_not_understood_is_ignored(ask: Ask, prefer: str) -> None:
    """RFC 7240: accepted at once."""
    answer = ask("POST", "/predict", json={"model": "plane", "instances": [[1, 2]]}, headers={"Prefer": prefer})
    assert answer.status_code == 202


@pytest.mark.parametrize("wait", ["long", "-1", "61", "nan", "1e1", ""])
def test_a_wait_that_is_no_number_is_422(ask: Ask, wait: str) -> None:
    """In the query it is ours to check."""
    assert ask("GET", f"/jobs/{posted(ask)['id']}", query_string={"wait": wait}).status_code == 422


def test_waiting_for_an_unknown_job_is_404_at_once(ask: Ask) -> None:
    """Nothing to wait for."""
    began = time.monotonic()
    assert ask("GET", "/jobs/0b5c9e0e-0000-4000-8000-000000000000?wait=30").status_code == 404
    assert time.monotonic() - began < 2


def test_when_all_slots_wait_a_post_is_answered_at_once(app: Flask, ask: Ask) -> None:
    """Waiting never takes the last threads: 202 as without a wait, and an event stream is 503."""
    waiting = app.extensions["house"].waiting
    while waiting.enter():
        pass
    body = {"model": "plane", "instances": [[1, 2]]}
    began = time.monotonic()
    answer = ask("POST", "/predict", json=body, headers={"Prefer": "wait=30"})
    assert answer.status_code == 202
    assert time.monotonic() - began < 2
    events = ask("GET", answer.get_json()["links"]["events"])
    assert (events.status_code, events.headers["Retry-After"]) == (503, "2")


def test_a_cancelled_job_stays_cancelled(ask: Ask, hand: Hand) -> None:
    """202, then 409; a worker finds nothing to do; no result."""
    here = f"/jobs/{posted(ask)['id']}"
    assert ask("DELETE", here).status_code == 202
    assert hand.work() == []
    done = ask("GET", here).get_json()
    assert (done["status"], done["result"]) == ("cancelled", None)
    assert done["finished_at"]
    assert ask("DELETE", here).status_code == 409
    assert ask("GET", f"{here}/result").status_code == 409


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: ")]


def test_events_end_with_the_job(ask: Ask, hand: Hand) -> None:
    """The first is the job as it is, the last is terminal; a latecomer gets just that one."""
    job = posted(ask)
    threading.Timer(0.3, hand.work).start()
    answer = ask("GET", job["links"]["events"])
    assert answer.content_type.startswith("text/event-stream")
    seen = [each["status"] for each in events(answer.text)]
    assert (seen[0], seen[-1]) == ("queued", "succeeded")
    assert [each["status"] for each in events(ask("GET", job["links"]["events"]).text)] == ["succeeded"]


def test_pages_hold_each_job_once_newest_first(ask: Ask) -> None:
    """Also while new ones arrive between the pages."""
    ids = [posted(ask)["id"] for _ in range(7)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = ask("GET", "/jobs", query_string={"limit": 3, "kind": "predict", "model": "plane", **cursor}).get_json()
        seen += [job["id"] for job in page["jobs"]]
        posted(ask)
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == ids[::-1]


def test_a_list_holds_what_was_asked_for(ask: Ask, hand: Hand) -> None:
    """By status and model; a name that no model can have finds nothing."""
    done = posted(ask)["id"]
    hand.work()
    posted(ask)
    listed = ask("GET", "/jobs?status=succeeded&model=plane").get_json()["jobs"]
    assert [job["id"] for job in listed] == [done]
    assert ask("GET", "/jobs?model=x%0d%0aSet-Cookie:%20a=b").get_json() == {"jobs": [], "next_cursor": None}


def decoded(data: bytes, media: str) -> list[dict[str, Any]]:
    if media == CSV:
        return list(csv.DictReader(io.StringIO(data.decode())))
    if media == PARQUET:
        rows: list[dict[str, Any]] = pa.parquet.read_table(io.BytesIO(data)).to_pylist()
        return rows
    with pa.ipc.open_stream(io.BytesIO(data)) as stream:
        streamed: list[dict[str, Any]] = stream.read_all().to_pylist()
        return streamed


@pytest.mark.parametrize("rows", [3, 1000, 1001, 70_000])
def test_the_result_is_the_same_in_every_form(ask: Ask, hand: Hand, rows: int) -> None:
    """JSON, CSV, Parquet, Arrow; below and above where results become files, and across pieces of an answer."""
    job = posted(ask, rows)
    hand.work()
    done = ask("GET", job["links"]["self"]).get_json()
    whole = ask("GET", job["links"]["result"]).get_json()
    assert (whole["model"], whole["version"]) == ("plane", "1")
    assert [each["prediction_id"] for each in whole["predictions"]] == [f"{job['id']}:{n}" for n in range(rows)]
    assert done["result"] == whole if rows <= 1000 else done["result"]["rows"] == rows
    for media in (CSV, PARQUET, ARROW):
        answer = ask("GET", job["links"]["result"], headers={"Accept": media})
        assert answer.content_type.startswith(media)
        table = decoded(answer.data, media)
        assert [(row["prediction_id"], str(row["label"])) for row in table] == [
            (each["prediction_id"], str(each["label"])) for each in whole["predictions"]
        ]
        assert float(table[-1]["probability_1"]) == whole["predictions"][-1]["probabilities"]["1"]


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("*/*", "application/json"),
        ("text/csv;q=0.2, application/vnd.apache.parquet", PARQUET),
        ("text/*", CSV),
        ("application/json;q=0, text/csv;q=0.1", CSV),
        ("text/html, */*;q=0.1", "application/json"),
    ],
)
def test_accept_chooses_by_quality(ask: Ask, hand: Hand, accept: str, given: str) -> None:
    """RFC 9110's weights, JSON where nothing is preferred."""
    job = posted(ask)
    hand.work()
    assert ask("GET", job["links"]["result"], headers={"Accept": accept}).mimetype == given


def test_a_form_that_cannot_be_had_is_406(ask: Ask, hand: Hand) -> None:
    """HTML of anything, CSV of a check; its JSON is the job's result."""
    job = posted(ask)
    check = ask("POST", "/models/plane/checks").get_json()
    assert ask("GET", job["links"]["result"]).status_code == 409
    hand.work()
    assert ask("GET", job["links"]["result"], headers={"Accept": "text/html"}).status_code == 406
    assert ask("GET", check["links"]["result"], headers={"Accept": CSV}).status_code == 406
    assert ask("GET", check["links"]["result"]).get_json() == ask("GET", check["links"]["self"]).get_json()["result"]


def test_text_that_a_spreadsheet_would_run_is_quoted(tmp_path: Any) -> None:
    """=, +, -, @ at the start of text; numbers stay numbers."""
    from storage import exports

    table = pa.table({"label": ["=1+1", "@x", "plain", None, "-2"], "value": [-1.5, 2.0, 3.0, 4.0, 5.0]})
    with pa.ipc.new_file(str(tmp_path / "t.arrow"), table.schema) as file:
        file.write_table(table)
    schema, tables = exports.of_file(tmp_path / "t.arrow")
    rows = decoded(b"".join(exports.encode(schema, tables, "csv")), CSV)
    assert [row["label"] for row in rows] == ["'=1+1", "'@x", "plain", "", "'-2"]
    assert rows[0]["value"] == "-1.5"
    schema, tables = exports.of_file(tmp_path / "t.arrow")
    kept = decoded(b"".join(exports.encode(schema, tables, "arrow")), ARROW)
    assert [row["label"] for row in kept] == ["=1+1", "@x", "plain", None, "-2"]


@pytest.mark.parametrize(
    ("columns", "first"),
    [
        ({"label": [True, False]}, {"label": True, "probabilities": {"true": 0.25}}),
        ({"label": ['a "b"', "é\\"]}, {"label": 'a "b"', "probabilities": {"true": 0.25}}),
        ({"label": [-3, 4]}, {"label": -3, "probabilities": {"true": 0.25}}),
        ({"value": [1e-300, 2.0]}, {"value": 1e-300}),
    ],
)
def test_labels_of_every_type_are_json(tmp_path: Any, columns: dict[str, Any], first: dict[str, Any]) -> None:
    """A truth, a text with quotes, a whole number; a regression's value."""
    from storage import exports

    shares = {} if "value" in columns else {"probability_true": [0.25, 1.0]}
    table = pa.table({"prediction_id": ["j:0", "j:1"], **columns, **shares})
    with pa.ipc.new_stream(str(tmp_path / "t.arrow"), table.schema) as stream:
        stream.write_table(table)
    _, tables = exports.of_file(tmp_path / "t.arrow")
    said = json.loads(b"".join(exports.as_json({"model": "m"}, tables)))
    assert said["predictions"][0] == {"prediction_id": "j:0"} | first
    assert len(said["predictions"]) == 2


def test_a_download_begins_before_it_is_made_whole(tmp_path: Any) -> None:
    """Of a million rows, the first pieces of each form need a fifth."""
    from storage import exports

    rows = 1_000_000
    ids = pc.binary_join_element_wise("job", pa.arange(0, rows).cast(pa.string()), ":")
    table = pa.table({"prediction_id": ids, "label": pa.arange(0, rows), "probability_0": pa.arange(0, rows).cast(pa.float64())})
    with pa.ipc.new_stream(str(tmp_path / "t.arrow"), table.schema) as stream:
        stream.write_table(table)
    for form in ("csv", "parquet", "json"):
        schema, tables = exports.of_file(tmp_path / "t.arrow")
        few = itertools.islice(tables, 3)
        pieces = exports.as_json({}, few) if form == "json" else exports.encode(schema, few, form)
        assert len(b"".join(itertools.islice(pieces, 3))) > 50_000
        assert len(list(tables)) > 10


def test_an_empty_result_file_is_an_empty_table(tmp_path: Any) -> None:
    """Header only, and valid JSON."""
    from storage import exports

    schema = pa.schema([("prediction_id", pa.string()), ("label", pa.int64()), ("probability_0", pa.float64())])
    with pa.ipc.new_file(str(tmp_path / "t.arrow"), schema):
        pass
    for media, name in ((CSV, "csv"), (PARQUET, "parquet"), (ARROW, "arrow")):
        full, tables = exports.of_file(tmp_path / "t.arrow")
        assert decoded(b"".join(exports.encode(full, tables, name)), media) == []
    _, tables = exports.of_file(tmp_path / "t.arrow")
    assert json.loads(b"".join(exports.as_json({"model": "m"}, tables))) == {"model": "m", "predictions": []}


def test_a_table_that_its_worker_refused_says_so(ask: Ask, hand: Hand, database: Database) -> None:
    """The job fails with `invalid_rows`; its file was stored as it came."""
    made = ask("POST", "/predict?model=plane", data=b"x1\n1\n", content_type="text/csv; charset=utf-8").get_json()
    hand.work()
    done = ask("GET", made["links"]["self"]).get_json()
    assert (done["status"], done["error"]["type"], done["result"]) == ("failed", "invalid_rows", None)
