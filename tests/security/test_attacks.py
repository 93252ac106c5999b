"""Attacks on the running stack: each is refused, or fails alone, and leaves everybody else unharmed."""

from __future__ import annotations

import re
import socket
import stat
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from benchmarks.stack import Stack
from jobs.kinds import QUEUES
from storage.database import Database
from storage.schema import jobs
from tests.security import hostile

pytestmark = [pytest.mark.attack, pytest.mark.usefixtures("unharmed")]
WAIT = {"Prefer": "wait=60"}


def count_jobs(stack: Stack) -> int:
    """Those that somebody asked for; beat's checks come by themselves."""
    database = Database(stack.ledger_url)
    with database.read() as tx:
        count = int(tx.execute(select(func.count()).where(jobs.c.kind.in_(("predict", "generate", "ingest")))).scalar_one())
    database.close()
    return count


def raw(stack: Stack, sent: bytes) -> bytes:
    """The answer to bytes that no HTTP client would send."""
    with socket.create_connection(("127.0.0.1", stack.port), timeout=15) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    return answer


# ---- the broker


def test_junk_and_forged_messages_make_no_job_and_kill_no_worker(stack: Stack) -> None:
    """In every queue, by someone who has the broker's password: pickles, other tasks, unknown ids, broken JSON."""
    before, broker = count_jobs(stack), stack.broker()
    for queue in QUEUES:
        broker.lpush(queue, *hostile.messages(queue))
    end = time.monotonic() + 30
    while any(broker.llen(queue) for queue in QUEUES) and time.monotonic() < end:
        time.sleep(0.2)
    assert {queue: broker.llen(queue) for queue in QUEUES} == dict.fromkeys(QUEUES, 0)
    assert count_jobs(stack) == before
    broker.close()


def test_nobody_pushes_without_the_password(stack: Stack) -> None:
    """The broker listens on loopback and answers nobody who does not know it."""
    port = stack.broker().connection_pool.connection_kwargs["port"]
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"LPUSH predict x\r\nFLUSHALL\r\nCONFIG GET requirepass\r\n")
        assert re.findall(rb"-(\w+)", connection.recv(4096))[0] == b"NOAUTH"


# ---- bodies


@pytest.mark.parametrize("name", hostile.TABLES)
def test_a_hostile_table_fails_alone(admin: httpx.Client, name: str) -> None:
    """It is refused at once, or its job fails as `invalid_rows`; nothing of it is predicted."""
    kind, make = hostile.TABLES[name]
    answer = admin.post("/predict?model=default", content=make(), headers={"Content-Type": kind, **WAIT}, timeout=90)
    if answer.status_code not in (400, 413, 422):
        job = answer.json()
        assert (job["status"], job["error"]["type"]) == ("failed", "invalid_rows"), job
        assert "Traceback" not in answer.text


@pytest.mark.parametrize("name", hostile.JSON)
def test_hostile_json_is_refused_and_makes_no_job(stack: Stack, admin: httpx.Client, name: str) -> None:
    """4xx, in bounded time."""
    before, began = count_jobs(stack), time.monotonic()
    answer = admin.post("/predict", content=hostile.JSON[name], headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 404, 413, 422), answer.text
    assert time.monotonic() - began < 5
    assert count_jobs(stack) == before


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity"])
def test_no_compressed_body_is_unpacked(admin: httpx.Client, coding: str) -> None:
    """A bomb never explodes here: 415 before the body is looked at."""
    answer = admin.post("/predict", content=b"{}", headers={"Content-Type": "application/json", "Content-Encoding": coding})
    assert answer.status_code == 415


# ---- requests


SMUGGLED = b"GET /tokens HTTP/1.1\r\nHost: a\r\n\r\n"
REQUESTS = {
    "two lengths": b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\n" + SMUGGLED,
    "length and chunks": b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "a hidden coding": b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\nContent-Length: 3\r\n\r\nabc",
    "a space before the colon": b"GET /livez HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n",
    "a folded line": b"GET /livez HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n",
    "a negative length": b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "an endless path": b"GET /" + b"a" * 50_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "noise": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_crooked_request_is_answered_by_nothing_but_a_refusal(stack: Stack, name: str) -> None:
    """No second request is smuggled in behind it."""
    answers = re.findall(rb"HTTP/1\.1 (\d{3})", raw(stack, REQUESTS[name]))
    assert len(answers) <= 1
    assert all(400 <= int(code) < 502 for code in answers)


PATHS = [
    "/jobs/../../../../etc/passwd",
    "/jobs/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/jobs/..%5c..%5cwindows",
    "/jobs/%00",
    "/jobs/%0d%0aSet-Cookie:%20a=b",
    "/static/..%2f..%2fsettings.py",
    "//127.0.0.1/tokens",
    "/docs/..;/tokens",
    "/jobs/'%20OR%201=1--",
    "/models/$(id)",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out(stack: Stack, admin: httpx.Client, path: str) -> None:
    """404, also for an admin, and nothing of it comes back as a header."""
    key = admin.headers["Authorization"]
    answer = raw(stack, f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: {key}\r\nConnection: close\r\n\r\n".encode())
    assert re.match(rb"HTTP/1\.1 (404|405|400|308)", answer), answer[:200]
    head = answer.partition(b"\r\n\r\n")[0]
    assert b"Set-Cookie" not in head
    assert b"root:" not in answer


@pytest.mark.parametrize("host", ["evil.example", "evil.example:1", "127.0.0.1@evil.example", "[::1"])
def test_the_host_header_builds_no_link(stack: Stack, host: str) -> None:
    """Whatever it says, no answer and no redirect names it."""
    for path in ("/docs", "/status", "/openapi.json", "/jobs/"):
        assert b"evil.example" not in raw(stack, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())


def test_a_log_line_cannot_be_forged(stack: Stack, admin: httpx.Client) -> None:
    """Line breaks and escape codes in names, ids and agents stay within one line."""
    evil = "mark-9f\n2026-01-01 ERROR all is lost\x1b[31m"
    admin.post("/tokens", json={"name": evil, "role": "viewer", "expires_at": None})
    admin.get("/jobs", params={"model": evil})
    admin.get(f"/models/{evil!r}")
    logs = "".join(stack.logs().values())
    assert not re.search(r"(?m)^2026-01-01 ERROR all is lost", logs)
    assert "\x1b[31m" not in logs


# ---- who may do what


def test_a_token_counts_in_the_header_only(stranger: httpx.Client, admin: httpx.Client) -> None:
    """In a query, a cookie, a form or the user part of the URL it opens nothing."""
    key = admin.headers["Authorization"].removeprefix("Bearer ")
    ways: list[dict[str, Any]] = [
        {"params": {"token": key}},
        {"params": {"access_token": key}},
        {"params": {"api_key": key}},
        {"headers": {"Cookie": f"token={key}"}},
        {"headers": {"X-Api-Key": key}},
        {"auth": ("admin", key)},
    ]
    # before the test that guesses: one of these ways counts as a guess, and would be 429 after it
    assert [stranger.get("/jobs", **way).status_code for way in ways] == [401] * len(ways)


def test_a_token_is_guessed_slowly(stranger: httpx.Client, admin: httpx.Client) -> None:
    """429 after some hundred wrong ones from an address; who has the right one does not notice."""
    codes = [stranger.get("/jobs", headers={"Authorization": f"Bearer guess-{n}"}).status_code for n in range(450)]
    assert codes[0] == 401
    assert 429 in codes
    assert admin.get("/jobs").status_code == 200


def test_no_secret_stands_in_a_log_an_argument_or_an_answer(stack: Stack, stranger: httpx.Client, admin: httpx.Client) -> None:
    """The key and the broker's password, after all that was done to the stack before."""
    key = admin.headers["Authorization"].removeprefix("Bearer ")
    password = str(stack.broker().connection_pool.connection_kwargs["password"])
    texts = [*stack.logs().values()]
    texts += [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in stack.mains()]
    texts += [stranger.get(path).text for path in ("/health", "/metrics", "/status", "/docs", "/openapi.json")]
    texts += [admin.get(path).text for path in ("/settings", "/overview", "/jobs?limit=100", "/tokens")]
    assert [text[:80] for text in texts if key in text or password in text] == []


def test_the_state_is_closed_to_other_users(stack: Stack) -> None:
    """DATA_DIR is 0700, and no file below it can be read by anybody else."""
    assert stat.S_IMODE(stack.data.stat().st_mode) == 0o700
    secret = [stack.data / "api_key", stack.data / "ledger.db", stack.data / "broker" / "server.conf"]
    assert [file.name for file in secret if file.stat().st_mode & 0o077] == []


# ---- what browsers are given


@pytest.mark.parametrize("path", ["/docs", "/status", "/jobs", "/nowhere", "/livez"])
def test_a_browser_may_load_and_frame_nothing_foreign(stranger: httpx.Client, path: str) -> None:
    """And no other site's script may read an answer."""
    headers = stranger.get(path, headers={"Origin": "https://evil.example"}).headers
    policy = headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"https?://|\*", policy)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers
    assert "Set-Cookie" not in headers


# ---- models


ARGUMENTS: dict[str, dict[str, Any]] = {
    "another class": {"estimator": "os.system"},
    "a transformer of files": {"estimator": "sklearn.datasets.load_files"},
    "a way round": {"estimator": "sklearn.linear_model.LogisticRegression.__init__.__globals__"},
    "a path": {"estimator_args": {"memory": "/tmp/owned"}},
    "an object": {"estimator_args": {"C": {"__reduce__": ["os.system", ["id"]]}}},
    "a name that breaks paths": {"name": "../../evil"},
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_a_declaration_is_data(admin: httpx.Client, case: str) -> None:
    """Only estimators of scikit-learn's own, only plain arguments, none of them a path."""
    declared: dict[str, Any] = {
        "task": "binary",
        "label": "y",
        "metric": "accuracy",
        "threshold": 0.7,
        "estimator": "sklearn.linear_model.LogisticRegression",
        "features": {"a": "number"},
    }
    more = dict(ARGUMENTS[case])
    name = more.pop("name", "declared")
    answer = admin.put(f"/models/{name}", json=declared | more)
    assert answer.status_code in (404, 422), answer.text
