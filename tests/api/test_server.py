"""`python -m api` itself: a real gunicorn on a real port, with a real broker where one is needed."""

from __future__ import annotations

import json
import os
import random
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from api import __main__ as server_module
from embedded.broker import find_server
from jobs.bell import DONE
from storage.artifacts import Artifacts
from storage.database import Database
from tests.api.conftest import KEY, free_port
from tests.api.hand import Hand

ROOT = Path(__file__).resolve().parents[2]
ADMIN = {"Authorization": f"Bearer {KEY}"}


def start(data: Path, **more: str) -> subprocess.Popen[bytes]:
    """`python -m api` on DATA_DIR."""
    env = {"PATH": os.environ["PATH"], "DATA_DIR": str(data), "MAX_BODY_MB": "1", "PYTHONPATH": str(ROOT), **more}
    return subprocess.Popen([sys.executable, "-m", "api"], cwd=data, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def ready(base: str, seconds: float = 30) -> float:
    """Wait for /livez; returns how long it took."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        try:
            if httpx.get(f"{base}/livez", timeout=1).status_code == 200:
                return time.monotonic() - began
        except httpx.TransportError:
            time.sleep(0.02)
    pytest.fail(f"not ready within {seconds} s")


def stop(server: subprocess.Popen[bytes]) -> tuple[int, str]:
    """SIGTERM; returns the exit status and what was printed."""
    server.terminate()
    printed = server.communicate(timeout=15)[0].decode()
    return server.returncode, printed


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey of the tests' own."""
    port = free_port()
    command = [find_server().path, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen(command, cwd=tmp_path_factory.mktemp("valkey"), stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port)
    for _ in range(100):
        try:
            client.ping()
            break
        except redis.RedisError:
            time.sleep(0.05)
    client.close()
    yield f"redis://127.0.0.1:{port}/0"
    server.terminate()
    server.wait(10)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Path:
    """A DATA_DIR with a migrated ledger."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "ledger.db").write_bytes(template.read_bytes())
    return folder


@pytest.fixture(scope="module")
def served(data: Path, broker: str) -> Iterator[str]:
    """A server; at the end it stops within its grace, with status 0."""
    port = free_port()
    server = start(data, API_KEY=KEY, API_PORT=str(port), REDIS_URL=broker)
    base = f"http://127.0.0.1:{port}"
    try:
        ready(base)
    except BaseException:
        server.kill()
        raise
    yield base
    began = time.monotonic()
    status, printed = stop(server)
    assert status == 0, printed
    assert "Traceback" not in printed
    assert KEY not in printed
    assert time.monotonic() - began < 6


@pytest.fixture
def client(served: str) -> Iterator[httpx.Client]:
    """An admin's client."""
    with httpx.Client(base_url=served, headers=ADMIN, timeout=20) as made:
        yield made


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "in chunks"])
def test_the_sender_of_too_large_a_body_hears_its_413(client: httpx.Client, announced: bool) -> None:
    """The rest is read and dropped, so that the answer is not lost in a reset; the connection serves on."""
    mega = b" " * (1 << 20)
    for kind in ("application/json", "text/csv"):
        content: Any = mega * 3 if announced else (mega for _ in range(3))
        answer = client.post("/predict?model=plane", content=content, headers={"Content-Type": kind})
        assert answer.status_code == 413
        assert answer.json()["status"] == 413
    assert client.get("/jobs").json()["jobs"] == []


def test_a_refusal_before_its_body_leaves_the_connection_whole(served: str) -> None:
    """401, 404 and 415 of two megabytes each, on one connection."""
    with httpx.Client(base_url=served, timeout=20) as anyone:
        csv = {"Content-Type": "text/csv"}
        for n in range(3):
            body = b"x" * (2 << 20)
            assert anyone.post("/predict", content=body, headers=csv).status_code == 401
            assert anyone.post("/nowhere", content=body, headers=csv).status_code == 404
            plain = {"Content-Type": "text/plain"}
            assert anyone.post(f"/feedback?{n}", content=body, headers=plain | ADMIN).status_code == 415


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "in chunks"])
def test_a_table_is_stored_as_it_came_and_the_connection_serves_on(client: httpx.Client, data: Path, announced: bool) -> None:
    """Three bodies of a megabyte on one connection, each followed by a small request."""
    for seed in range(3):
        sent = random.Random(seed).randbytes((1 << 20) - seed)
        body: Any = sent if announced else (sent[at : at + 70_001] for at in range(0, len(sent), 70_001))
        job = client.post("/predict?model=plane", content=body, headers={"Content-Type": "text/csv"}).json()
        assert (data / "artifacts" / "bodies" / job["id"] / "table.csv").read_bytes() == sent
        assert client.delete(job["links"]["self"]).status_code == 202


def test_a_body_that_ends_early_makes_no_job(client: httpx.Client, served: str) -> None:
    """1,000 bytes announced, half of them sent, and the sender is gone."""
    url, before = httpx.URL(served), client.get("/jobs").json()["jobs"]
    head = "POST /predict?model=plane HTTP/1.1\r\nHost: here\r\nContent-Type: text/csv\r\nContent-Length: 1000\r\n"
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall(f"{head}Authorization: Bearer {KEY}\r\n\r\n".encode() + b"x" * 500)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 400")
    assert client.get("/jobs").json()["jobs"] == before


def test_ends_are_pushed_to_whoever_waits(client: httpx.Client, data: Path, broker: str) -> None:
    """The doorbell rings for an accepted job; the announced end answers the POST long before its own look."""
    seen: list[float] = []

    def work() -> None:
        bell = redis.Redis.from_url(broker)
        bell.blpop(["predict"], timeout=10)
        database = Database(f"sqlite:///{data / 'ledger.db'}")
        done = Hand(database, Artifacts(data / "artifacts")).work()
        seen.append(time.monotonic())
        bell.publish(DONE, ",".join(done))
        bell.close()
        database.close()

    worker = threading.Thread(target=work)
    worker.start()
    answer = client.post("/predict", json={"model": "plane", "instances": [[1, 2]]}, headers={"Prefer": "wait=20"})
    worker.join()
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert time.monotonic() - seen[0] < 0.2


def test_events_tell_of_a_cancelled_job_when_it_happens(client: httpx.Client, served: str) -> None:
    """A stream that is open hears of the end at once."""
    job = client.post("/predict", json={"model": "plane", "instances": [[1, 2]]}).json()
    threading.Timer(0.5, lambda: httpx.delete(f"{served}/jobs/{job['id']}", headers=ADMIN)).start()
    began = time.monotonic()
    with client.stream("GET", job["links"]["events"]) as stream:
        seen = [json.loads(line[5:])["status"] for line in stream.iter_lines() if line.startswith("data:")]
    assert seen == ["queued", "cancelled"]
    assert 0.3 < time.monotonic() - began < 3


def test_a_head_of_a_stream_gives_its_slot_back(client: httpx.Client) -> None:
    """More HEADs than there are slots: none is refused."""
    job = client.post("/predict", json={"model": "plane", "instances": [[1, 2]]}).json()
    assert {client.head(job["links"]["events"]).status_code for _ in range(60)} == {200}
    client.delete(job["links"]["self"])


def test_it_is_ready_soon_and_small(data: Path, broker: str) -> None:
    """Ready within three seconds of CPU; no numpy, pandas, scikit-learn, MLflow, pyarrow or Celery, and few modules."""
    code = (
        "import sys, api.__main__\n"
        "status = open('/proc/self/status').read() if sys.platform == 'linux' else 'VmHWM: 0'\n"
        "print(len(sys.modules), int(status.split('VmHWM:')[1].split()[0]) // 1024,"
        " *[n for n in ('numpy','pandas','sklearn','scipy','mlflow','pyarrow','celery','kombu') if n in sys.modules])"
    )
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    before = os.times()
    printed = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True, text=True).stdout
    spent = os.times()
    modules, mebibytes, *heavy = printed.split()
    assert heavy == []
    assert int(modules) < 880
    assert int(mebibytes) <= 80
    assert spent.children_user - before.children_user < 3


def test_a_silent_peer_gives_its_thread_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """An accepted connection inherits the limit: reading from someone who sends nothing ends."""
    monkeypatch.setattr(server_module, "SLOW_S", 1)
    listener = server_module.listen("127.0.0.1", 0)
    assert listener is not None
    with listener, socket.create_connection(listener.getsockname()):
        accepted = listener.accept()[0]
        began = time.monotonic()
        with accepted, pytest.raises(BlockingIOError):
            accepted.recv(1)
        assert 0.5 < time.monotonic() - began < 5


def test_a_taken_port_is_said_in_one_line(data: Path) -> None:
    """Exit status 1, no traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = start(data, API_KEY=KEY, API_PORT=str(taken.getsockname()[1]))
        printed = server.communicate(timeout=20)[0].decode()
    assert server.returncode == 1
    assert len(printed.splitlines()) == 1
    assert "API_PORT" in printed


def test_a_key_is_made_once_and_printed_once(data: Path) -> None:
    """Kept with mode 0600, and it opens the door; a second start prints nothing of it."""
    port = str(free_port())
    server = start(data, API_PORT=port)
    ready(f"http://127.0.0.1:{port}")
    file = data / "api_key"
    key = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    answer = httpx.get(f"http://127.0.0.1:{port}/tokens", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    status, printed = stop(server)
    assert (status, printed.count(key)) == (0, 1)
    server = start(data, API_PORT=port)
    ready(f"http://127.0.0.1:{port}")
    assert key not in stop(server)[1]
    assert file.read_text().strip() == key


@pytest.fixture
def crowd(served: str) -> Iterator[Callable[[bytes, int], list[socket.socket]]]:
    """Opens connections that each send the same bytes, and leaves them open until the end."""
    url, opened = httpx.URL(served), list[socket.socket]()

    def come(sent: bytes, count: int) -> list[socket.socket]:
        for _ in range(count):
            opened.append(socket.create_connection((url.host, url.port or 80), timeout=20))
            opened[-1].sendall(sent)
        return opened

    yield come
    for each in opened:
        each.close()


def slowest_s(client: httpx.Client) -> float:
    """Of some requests that threads answer."""
    took = []
    for _ in range(10):
        began = time.monotonic()
        assert client.get("/jobs").status_code == 200
        took.append(time.monotonic() - began)
    return max(took)


BEGUN = {
    "silent": b"",
    "a letter": b"P",
    "half a head": b"GET /jobs HTTP/1.1\r\nHost: here\r\nX-Slow: ",
    "half a small body": b"POST /feedback HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\n12345",
    "half a plain body": b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{",
}


@pytest.mark.parametrize("begun", BEGUN.values(), ids=BEGUN)
def test_those_who_send_slowly_hold_up_nobody(
    client: httpx.Client, crowd: Callable[[bytes, int], list[socket.socket]], begun: bytes
) -> None:
    """Three hundred of them, more than there are threads."""
    crowd(begun, 300)
    time.sleep(0.2)
    assert slowest_s(client) < 2


def test_strangers_with_large_bodies_hold_up_others_for_a_moment(
    client: httpx.Client, crowd: Callable[[bytes, int], list[socket.socket]]
) -> None:
    """A large body is read as it comes, by a thread; who has no token is not waited for."""
    crowd(b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Type: text/csv\r\nContent-Length: 1000000\r\n\r\nx1,x2\n", 300)
    assert slowest_s(client) < 6


def test_those_who_never_close_hold_up_nobody(client: httpx.Client, crowd: Callable[[bytes, int], list[socket.socket]]) -> None:
    """Each was told that its connection is closed, and keeps its end open."""
    crowd(b"GET /livez HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n", 30)
    assert slowest_s(client) < 1


def test_more_connections_than_there_is_room_for_shut_nobody_out(
    client: httpx.Client, crowd: Callable[[bytes, int], list[socket.socket]]
) -> None:
    """Whoever has rested longest makes room."""
    crowd(b"", 1_500)
    assert slowest_s(client) < 2


def test_a_head_that_does_not_come_is_408_and_an_endless_one_431(
    crowd: Callable[[bytes, int], list[socket.socket]],
) -> None:
    """And the connection is closed."""
    (late,) = crowd(b"GET / HTTP/1.1\r\n", 1)
    long = crowd(b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 1)[-1]
    assert long.recv(4096).startswith(b"HTTP/1.1 431 ")
    assert late.recv(4096).startswith(b"HTTP/1.1 408 ")
    assert late.recv(4096) == b""


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (414, b"GET /jobs?model=" + b"x" * 5_000 + b" HTTP/1.1\r\nHost: here\r\n\r\n"),
        (431, b"GET /jobs HTTP/1.1\r\nHost: here\r\nX-Long: " + b"x" * 9_000 + b"\r\n\r\n"),
        (400, b"GE(T <script> HTTP/1.1\r\nHost: here\r\n\r\n"),
        (417, b"GET /livez HTTP/1.1\r\nHost: here\r\nExpect: <script>\r\n\r\n"),
        (501, b"POST /predict HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: <script>\r\n\r\n"),
    ],
)
def test_what_is_no_request_is_refused_by_a_problem(
    crowd: Callable[[bytes, int], list[socket.socket]], status: int, sent: bytes
) -> None:
    """As any other, with an id and the headers of every answer, and nothing of what was sent; then the connection is closed."""
    (line,) = crowd(sent, 1)
    answer = b""
    while piece := line.recv(65_536):
        answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *rest = head.decode().splitlines()
    headers = dict(each.split(": ", 1) for each in rest)
    problem = json.loads(body)
    assert first.startswith(f"HTTP/1.1 {status} ") and problem["status"] == status
    assert (headers["Content-Type"], headers["Connection"]) == ("application/problem+json", "close")
    assert (headers["X-Content-Type-Options"], headers["X-Request-ID"]) == ("nosniff", problem["request_id"])
    assert b"script" not in answer and problem["detail"]
