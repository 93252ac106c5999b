"""The accept path: one commit for many, one job for a key, and nothing for a refused request."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event, func, select
from sqlalchemy.exc import OperationalError

from api import front
from api.app import close, create_app
from problems.rows import PackedRows
from settings import Settings
from storage import audit, jobs
from storage.database import FAULTS, Database
from storage.schema import idempotency
from storage.schema import jobs as table
from tests.api.conftest import KEY, Ask
from tests.api.hand import Hand

BODY = {"model": "plane", "instances": [[1, 2], [-3.5, 0]]}


def count(database: Database, of: Any = table) -> int:
    with database.read() as tx:
        return int(tx.execute(select(func.count()).select_from(of)).scalar_one())


def test_a_prediction_is_in_the_ledger_before_it_is_answered(ask: Ask, database: Database) -> None:
    """202 with where to look; the row holds the packed numbers and the request's id."""
    answer = ask("POST", "/predict", json=BODY, headers={"X-Request-ID": "mine-1"})
    assert answer.status_code == 202
    said = answer.get_json()
    assert answer.headers["Location"] == said["links"]["self"] == f"/jobs/{said['id']}"
    assert answer.headers["Retry-After"] == "1"
    with database.read() as tx:
        job = jobs.get(tx, said["id"])
    assert job is not None
    assert (job.status, job.queue, job.request_id) == ("queued", "predict", "mine-1")
    assert PackedRows.decode(job.payload or b"").count == 2
    assert ask("GET", said["links"]["self"]).get_json() == said


def test_the_older_forms_are_one_row(ask: Ask, database: Database) -> None:
    """`features` and `feature1`, `feature2` pack the same bytes as `instances`."""
    forms: list[dict[str, Any]] = [{"instances": [[1, 2]]}, {"features": [1, 2]}, {"feature2": 2, "feature1": 1}]
    payloads = set()
    for form in forms:
        made = ask("POST", "/predict", json={"model": "plane"} | form).get_json()
        with database.read() as tx:
            job = jobs.get(tx, made["id"])
        assert job is not None
        payloads.add(job.payload)
    assert len(payloads) == 1


def test_many_rows_are_a_file_on_the_bulk_queue(ask: Ask, database: Database, app: Flask) -> None:
    """Above 1,000 rows the row of the ledger names a file that holds the same packed rows."""
    made = ask("POST", "/predict", json={"model": "plane", "instances": [[n, 1] for n in range(1001)]}).get_json()
    with database.read() as tx:
        job = jobs.get(tx, made["id"])
    assert job is not None
    assert (job.queue, job.payload, job.artifact) == ("bulk", None, f"bodies/{job.id}/rows.bin")
    packed = app.extensions["house"].artifacts.path(job.artifact).read_bytes()
    assert PackedRows.decode(packed).count == 1001


def test_a_crowd_shares_commits(app: Flask, database: Database) -> None:
    """32 requests at once while a commit is slow: every one accepted once, in far fewer transactions than requests."""
    commits: list[int] = []
    gate = threading.Event()

    @event.listens_for(database.engine, "commit")
    def slow(_: object) -> None:
        commits.append(1)
        gate.wait(0.2)

    def post(_: int) -> str:
        answer = app.test_client().post("/predict", json=BODY, headers={"Authorization": f"Bearer {KEY}"})
        assert answer.status_code == 202
        return str(answer.get_json()["id"])

    with ThreadPoolExecutor(32) as pool:
        ids = list(pool.map(post, range(32)))
    assert len(set(ids)) == 32
    assert count(database) == 32
    assert len(commits) < 16


def test_a_failed_commit_is_503_and_the_next_one_works(app: Flask, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database goes away: 503 with Retry-After, no job; it comes back: 202."""
    parts = app.extensions["house"]

    def gone(*_: object) -> None:
        raise FAULTS[-1]("the database is gone")

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "add", gone)
        answer = ask("POST", "/predict", json=BODY)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert count(parts.database) == 0
    assert ask("POST", "/predict", json=BODY).status_code == 202


def test_no_post_waits_for_a_broker_that_is_stopped(settings: Settings) -> None:
    """It takes connections and never says a word: each POST of each kind is 202 within two seconds all the same."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        app = create_app(settings, Database(settings.ledger_url), f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        client, headers, slowest = app.test_client(), {"Authorization": f"Bearer {KEY}"}, 0.0
        for path, body in [("/predict", BODY), ("/generate", {"model": "plane", "samples": 10})] * 3:
            began = time.monotonic()
            assert client.post(path, json=body, headers=headers).status_code == 202
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 2
        close(app)


def test_the_same_key_gives_the_same_job_and_another_body_is_refused(ask: Ask, database: Database) -> None:
    """Replayed with the header, 422 for another body, another path is another key."""
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first, again = (ask("POST", "/predict", json=BODY, headers=key) for _ in range(2))
    assert first.get_json()["id"] == again.get_json()["id"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    other = ask("POST", "/predict", json={"model": "plane", "instances": [[9, 9]]}, headers=key)
    assert other.status_code == 422
    assert other.get_json()["errors"][0]["loc"] == ["Idempotency-Key"]
    assert ask("POST", "/models/plane/checks", headers=key).status_code == 202
    assert count(database) == 2


@pytest.mark.parametrize("wait", ["", "wait=1"])
def test_a_key_whose_job_is_no_longer_kept_makes_no_promise(ask: Ask, database: Database, wait: str) -> None:
    """410, where RETENTION_DAYS is shorter than keys are kept: neither a job that nobody will find nor a second one."""
    headers = {"Idempotency-Key": "old"} | ({"Prefer": wait} if wait else {})
    assert ask("POST", "/predict", json=BODY, headers={"Idempotency-Key": "old"}).status_code == 202
    with database.begin() as tx:
        tx.execute(table.delete())
    assert ask("POST", "/predict", json=BODY, headers=headers).status_code == 410
    assert count(database) == 0


def test_a_replay_of_a_finished_job_is_200(ask: Ask, hand: Hand) -> None:
    """The key's job has ended meanwhile: its end is the answer."""
    key = {"Idempotency-Key": "k"}
    made = ask("POST", "/predict", json=BODY, headers=key).get_json()
    assert hand.work() == [made["id"]]
    again = ask("POST", "/predict", json=BODY, headers=key)
    assert (again.status_code, again.get_json()["status"]) == (200, "succeeded")


def test_a_key_posted_many_times_at_once_makes_one_job(app: Flask, database: Database) -> None:
    """Eight threads, one key: one job, and exactly one answer that is not a replay."""

    def post(_: int) -> tuple[str, bool]:
        headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": "one"}
        answer = app.test_client().post("/predict", json=BODY, headers=headers)
        return answer.get_json()["id"], "Idempotent-Replayed" in answer.headers

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(8)))
    assert len({job_id for job_id, _ in answers}) == 1
    assert [replayed for _, replayed in answers].count(False) == 1
    assert count(database) == 1


def test_a_refused_request_binds_no_key(ask: Ask, database: Database) -> None:
    """422 first, then the corrected body under the same key is accepted."""
    key = {"Idempotency-Key": "again"}
    assert ask("POST", "/predict", json={"model": "plane", "instances": [[1]]}, headers=key).status_code == 422
    assert count(database, idempotency) == 0
    assert ask("POST", "/predict", json=BODY, headers=key).status_code == 202


def test_a_table_replayed_keeps_one_file(ask: Ask, app: Flask) -> None:
    """The second upload under a key leaves no file behind."""
    send = {"data": b"x1,x2\n1,2\n", "content_type": "text/csv", "headers": {"Idempotency-Key": "t"}}
    first, again = (ask("POST", "/predict?model=plane", **send) for _ in range(2))
    assert first.get_json()["id"] == again.get_json()["id"]
    folder = app.extensions["house"].artifacts.root / "bodies"
    assert [each.name for each in folder.iterdir()] == [first.get_json()["id"]]
    assert (folder / first.get_json()["id"] / "table.csv").read_bytes() == b"x1,x2\n1,2\n"


def away(*_: object) -> Any:
    raise OperationalError("INSERT", {}, Exception("server closed the connection"))


def test_a_fault_after_the_commit_costs_no_file_of_the_job(
    ask: Ask, app: Flask, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503, when its line in the audit log could not be written; but the job is there, and is the one that the key answers."""
    send = {"data": b"x1,x2,target\n1,2,1\n", "content_type": "text/csv", "headers": {"Idempotency-Key": "f"}}

    with monkeypatch.context() as patch:
        patch.setattr(audit, "add", away)
        assert ask("POST", "/datasets?model=plane", **send).status_code == 503
    again = ask("POST", "/datasets?model=plane", **send)
    assert (again.status_code, count(database)) == (202, 1)
    folder = app.extensions["house"].artifacts.root / "bodies"
    assert [each.name for each in folder.iterdir()] == [again.get_json()["id"]]


def test_a_fault_before_the_commit_leaves_no_file_unless_the_ledger_does_not_say(
    ask: Ask, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of a job that is perhaps recorded is worth more than its place; hourly, what nothing refers to goes."""
    send = {"data": b"x1,x2\n1,2\n", "content_type": "text/csv"}

    folder = app.extensions["house"].artifacts.root / "bodies"
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "add", away)
        assert ask("POST", "/predict?model=plane", **send).status_code == 503
        assert list(folder.iterdir()) == []
        patch.setattr(jobs, "get", away)
        assert ask("POST", "/predict?model=plane", **send).status_code == 503
        assert len(list(folder.iterdir())) == 1


def test_a_form_is_the_same_body_whatever_its_boundary(ask: Ask) -> None:
    """Two uploads of one file under a key: one job, although the boundary differs."""
    import io

    def send() -> Any:
        form = {"file": (io.BytesIO(b"x1,x2,target\n1,2,1\n"), "rows.csv"), "model": "plane"}
        return ask("POST", "/datasets", data=form, headers={"Idempotency-Key": "f"})

    first, again = send(), send()
    assert first.status_code == again.status_code == 202
    assert first.get_json()["id"] == again.get_json()["id"]
    assert first.get_json()["model"] == "plane"


def test_too_long_a_queue_is_429(settings: Any, app: Flask, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above MAX_QUEUED a POST is refused with Retry-After."""
    monkeypatch.setattr(app.extensions["house"].front, "_max_queued", 1)
    assert ask("POST", "/predict", json=BODY).status_code == 202
    answer = ask("POST", "/predict", json=BODY)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_full_disk_is_503_and_says_so(app: Flask, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the floor of free space nothing is accepted, and /health is 503 too."""
    monkeypatch.setattr(front, "FLOOR_BYTES", 1 << 62)
    monkeypatch.setattr("api.status.FLOOR_BYTES", 1 << 62)
    answer = ask("POST", "/predict", json=BODY)
    assert answer.status_code == 503
    assert "disk" in answer.get_json()["detail"]
    assert ask("GET", "/health").status_code == 503
