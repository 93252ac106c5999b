"""Bad requests: each is refused with its status, as a problem, and leaves nothing behind."""

from __future__ import annotations

import json
from typing import Any

import pytest

from storage.database import Database
from tests.api.conftest import Ask
from tests.api.test_accepting import count

JSON = "application/json"
BAD: dict[str, tuple[bytes | Any, int]] = {
    "nothing": (b"", 400),
    "half an object": (b"{", 400),
    "not UTF-8": (b'{"model":"plane","instances":[["\xff",1]]}', 400),
    "brackets without end": (b"[" * 100_000, 422),
    "braces without end": (b'{"instances":' * 50_000, 400),
    "half a surrogate": (b'{"model":"\\ud800","instances":[[1,2]]}', 400),
    "a nul in a name": (b'{"model":"\\u0000","instances":[[1,2]]}', 404),
    "an unknown model": ({"model": "nope", "instances": [[1, 2]]}, 404),
    "a list at the top": ([1], 422),
    "no instances": ({"model": "plane"}, 422),
    "no rows": ({"model": "plane", "instances": []}, 422),
    "instances are a number": ({"model": "plane", "instances": 3}, 422),
    "too wide": ({"model": "plane", "instances": [[1, 2, 3]]}, 422),
    "text for a number": ({"model": "plane", "instances": [["a", 2]]}, 422),
    "true for a number": ({"model": "plane", "instances": [[True, 2]]}, 422),
    "infinity": (b'{"model":"plane","instances":[[1e999,1]]}', 422),
    "400 digits": (b'{"model":"plane","instances":[[1' + b"0" * 400 + b",1]]}", 422),
    "a model that is no text": ({"model": ["plane"], "instances": [[1, 2]]}, 422),
    "an unknown key": ({"model": "plane", "instances": [[1, 2]], "verbose": True}, 422),
    "one older feature of two": ({"model": "plane", "feature1": 1}, 422),
    "three older features of two": ({"model": "plane", "features": [1, 2, 3]}, 422),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_json_is_refused_and_leaves_nothing(ask: Ask, database: Database, case: str) -> None:
    """The status of each kind of nonsense; a 422 says where."""
    body, status = BAD[case]
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = ask("POST", "/predict", data=raw, content_type=JSON)
    said = answer.get_json()
    assert (answer.status_code, said["status"]) == (status, status)
    assert answer.content_type == "application/problem+json"
    assert said["request_id"] == answer.headers["X-Request-ID"]
    assert ("errors" in said) == (status == 422)
    assert count(database) == 0


def test_a_refusal_names_row_and_feature(ask: Ask) -> None:
    """Row 7, feature x2."""
    rows: list[dict[str, Any]] = [{"x1": 1, "x2": 2}] * 7 + [{"x1": 3, "x2": "four"}]
    said = ask("POST", "/predict", json={"model": "plane", "instances": rows}).get_json()
    assert said["errors"] == [{"loc": ["instances", 7, "x2"], "msg": "expected a finite number"}]
    assert "instances.7.x2" in said["detail"]


@pytest.mark.parametrize("path", ["/predict", "/generate", "/datasets?model=plane", "/feedback", "/tokens"])
def test_other_media_types_and_encodings_are_415(ask: Ask, path: str) -> None:
    """XML, no type at all, and a compressed body."""
    assert ask("POST", path, data=b"<x/>", content_type="application/xml").status_code == 415
    assert ask("POST", path, data=b"{}").status_code == 415
    packed = {"Content-Encoding": "gzip"}
    assert ask("POST", path, data=b"{}", content_type=JSON, headers=packed).status_code == 415


@pytest.mark.parametrize("path", ["/predict?model=plane", "/datasets?model=plane"])
def test_an_empty_table_is_400_and_one_too_large_413(ask: Ask, database: Database, path: str) -> None:
    """MAX_BODY_MB is 1 here; no file is left behind."""
    for body, status in ((b"", 400), (b"x" * ((1 << 20) + 1), 413)):
        answer = ask("POST", path, data=body, content_type="text/csv")
        assert answer.status_code == status, answer.get_json()
    assert count(database) == 0


def test_a_form_too_large_is_413(ask: Ask) -> None:
    """Also within multipart/form-data."""
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="r.csv"\r\nContent-Type: text/csv\r\n\r\n'
    form = head + b"x" * (2 << 20) + b"\r\n--b--\r\n"
    assert ask("POST", "/datasets", data=form, content_type="multipart/form-data; boundary=b").status_code == 413


def test_an_unknown_path_is_404_and_a_wrong_method_405(ask: Ask) -> None:
    """With Allow; retraining is no path at all."""
    assert ask("GET", "/nowhere").status_code == 404
    for method, path, allowed in (("PUT", "/predict", "POST"), ("DELETE", "/health", "GET"), ("PATCH", "/jobs", "GET")):
        answer = ask(method, path)
        assert answer.status_code == 405
        assert allowed in answer.headers["Allow"]
        assert answer.get_json()["status"] == 405
    assert ask("POST", "/retrain").status_code == 404


def test_what_nobody_foresaw_is_500_without_internals(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of ours says nothing of how we are built."""

    def broken(*_: object) -> None:
        raise RuntimeError("select * from secrets")

    monkeypatch.setattr("storage.jobs.listed", broken)
    answer = ask("GET", "/jobs")
    assert answer.status_code == 500
    assert "secrets" not in answer.text
    assert answer.headers["X-Request-ID"] == answer.get_json()["request_id"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=many", "limit=٣", "cursor=no%20cursor", "kind=banana", "status=asleep", "cursor="]
)
def test_a_list_asked_for_wrongly_is_422(ask: Ask, query: str) -> None:
    """Limits, cursors and choices outside what there is."""
    answer = ask("GET", f"/jobs?{query}")
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["loc"] == [query.split("=")[0]]


@pytest.mark.parametrize(
    "strange", ["0", "-1", "..%2f..%2fetc%2fpasswd", "x" * 2000, "%00", "%F0%9F%90%8D", "%ff", "' OR 1=1", "\r\nA:b"]
)
def test_a_strange_id_is_404_everywhere(ask: Ask, strange: str) -> None:
    """No id of ours: never a look into the database."""
    for path in (f"/jobs/{strange}", f"/jobs/{strange}/result", f"/jobs/{strange}/events", f"/datasets/{strange}"):
        assert ask("GET", path).status_code == 404
    assert ask("DELETE", f"/jobs/{strange}").status_code == 404
    assert ask("DELETE", f"/tokens/{strange}").status_code == 404


GENERATE = [
    [], {"samples": 0}, {"samples": 1.5}, {"samples": "many"}, {"samples": 10**12}, {"features": 0}, {"noise": -1},
    {"noise": "loud"}, {"drift": "sideways"},
    {"strength": 2}, {"seed": "x"}, {"model": 3}, {"banana": 1}, {"features": 3}, {"samples": True},
]  # fmt: skip


@pytest.mark.parametrize("body", GENERATE, ids=json.dumps)
def test_generate_refuses_nonsense(ask: Ask, database: Database, body: Any) -> None:
    """422, no job; `plane` has two features."""
    asked = {"model": "plane", **body} if isinstance(body, dict) else body
    assert ask("POST", "/generate", json=asked).status_code == 422
    assert count(database) == 0


def test_generate_needs_a_binary_model_of_numbers(ask: Ask, database: Database) -> None:
    """A regression on a category has two faults."""
    from storage import models
    from tests.api.hand import PLANE

    other = PLANE | {"task": "regression", "metric": "mae", "features": {"x1": "category"}}
    with database.begin() as tx:
        models.declare(tx, "homes", other, "declared", 1.0)
    answer = ask("POST", "/generate", json={"model": "homes"})
    assert answer.status_code == 422
    assert len(answer.get_json()["errors"]) == 2


def test_generate_tells_the_worker_everything(ask: Ask, database: Database) -> None:
    """The payload has the exact keys, with a seed drawn where none was given."""
    import msgspec

    from storage import jobs

    made = ask("POST", "/generate", json={"model": "plane", "samples": 10, "drift": "concept", "strength": 1}).get_json()
    with database.read() as tx:
        job = jobs.get(tx, made["id"])
    assert job is not None
    told = msgspec.json.decode(job.payload or b"")
    assert 0 <= told.pop("seed") < 2**31
    assert told == {"samples": 10, "features": 2, "noise": 0.1, "drift": "concept", "strength": 1.0}
    assert job.queue == "bulk"


def test_as_gospel_is_422_and_as_history_a_backfill(ask: Ask, database: Database) -> None:
    """`?as=` is evidence or history."""
    import msgspec

    from storage import jobs

    body = {"data": b"x1,x2,target\n1,2,1\n", "content_type": "text/csv"}
    assert ask("POST", "/datasets?model=plane&as=gospel", **body).status_code == 422
    made = ask("POST", "/datasets?model=plane&as=history", **body).get_json()
    with database.read() as tx:
        job = jobs.get(tx, made["id"])
    assert job is not None
    assert msgspec.json.decode(job.payload or b"") == {"backfill": True, "format": "csv"}
    assert (job.kind, job.queue, job.artifact) == ("ingest", "bulk", f"bodies/{job.id}/table.csv")
