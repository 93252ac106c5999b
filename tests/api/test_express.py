"""The express lane: what it takes it answers as Flask would, and what it does not understand it leaves alone."""

from __future__ import annotations

import json
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from api.express import Express
from api.head import MOST_BODY, NotPlain
from api.limits import Buckets
from storage import jobs
from storage.database import FAULTS, Database
from tests.api.conftest import KEY, Ask, free_port
from tests.api.hand import Hand
from tests.api.test_server import ready, start, stop

ONE = {"model": "plane", "instances": [[1, 2.5]]}
LONG_WAY = "X-Down-The-Other-Lane: 1"  # no lane knows it, so that only Flask takes the request
Answer = tuple[int, dict[str, str], Any]
Take = Callable[..., "queue.SimpleQueue[bytes]"]


def request(body: Any = ONE, *more: str, token: str = KEY, without: str = "") -> bytes:
    """A plain request, as most clients send it; with further header lines, or without one."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        "POST /predict HTTP/1.1",
        "Host: 127.0.0.1:8000",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *more,
    ]
    kept = [line for line in lines if not without or not line.startswith(without)]
    return "\r\n".join([*kept, "", ""]).encode("latin-1") + content


def parsed(raw: bytes) -> Answer:
    """An answer's status, headers and body."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert int(headers["Content-Length"]) == len(body)
    return int(first.split()[1]), headers | {"": first}, json.loads(body)


@pytest.fixture
def lane(app: Flask) -> Iterator[Express]:
    """The app's express lane, with a loop that is whichever thread calls."""
    with ThreadPoolExecutor(4) as pool:
        made = Express(app.extensions["house"], lambda call: call(), pool.submit)
        yield made


@pytest.fixture
def take(app: Flask, lane: Express, ask: Ask) -> Take:
    """Puts a request on the lane, which knows the model and how much room there is."""
    assert ask("POST", "/predict", json=ONE).status_code == 202

    def put(raw: bytes) -> queue.SimpleQueue[bytes]:
        answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        assert lane.take(raw, answers.put) == len(raw)
        return answers

    return put


def test_it_accepts_what_flask_accepts(take: Take, ask: Ask) -> None:
    """202; the job is in the ledger as it was answered, under the client's own request id."""
    status, headers, said = parsed(take(request(ONE, "X-Request-ID: mine-1")).get(timeout=10))
    assert (status, headers["X-Request-ID"], headers["Location"]) == (202, "mine-1", f"/jobs/{said['id']}")
    assert ask("GET", f"/jobs/{said['id']}").get_json() == said


def test_a_client_that_waits_gets_the_end(take: Take, hand: Hand, app: Flask) -> None:
    """200 with the result as soon as the end is announced, and exactly one answer."""
    answers = take(request(ONE, "Prefer: wait=20"))
    end = time.monotonic() + 10
    ended: list[str] = []
    while answers.empty() and time.monotonic() < end:
        ended += hand.work()
        app.extensions["house"].waiting.ended(ended)
        time.sleep(0.01)
    status, _, said = parsed(answers.get(timeout=1))
    assert (status, said["status"], said["result"]["predictions"][0]["label"]) == (200, "succeeded", 1)
    time.sleep(0.1)
    assert answers.empty()


def test_how_the_rate_stands_is_told_here_too(take: Take, app: Flask) -> None:
    """Five a minute: what is left counts down, as on Flask's answers; without a limit there is nothing to tell."""
    assert "RateLimit-Limit" not in parsed(take(request()).get(timeout=10))[1]
    object.__setattr__(app.extensions["house"], "rates", Buckets(5, 60))
    headers = [parsed(take(request()).get(timeout=10))[1] for _ in range(2)]
    assert [(each["RateLimit-Limit"], each["RateLimit-Remaining"]) for each in headers] == [("5", "4"), ("5", "3")]


def test_a_wait_that_runs_out_is_a_202(take: Take, lane: Express) -> None:
    """After its second, with the job as it is; a thread has waited, not the loop."""
    began = time.monotonic()
    answers = take(request(ONE, "Prefer: wait=1"))
    while answers.empty() and time.monotonic() < began + 10:
        lane.turn()
        time.sleep(0.01)
    status, _, said = parsed(answers.get(timeout=1))
    assert (status, said["status"]) == (202, "queued")
    assert time.monotonic() - began >= 1


def test_a_stop_ends_a_wait_at_once(take: Take, lane: Express) -> None:
    """202 with what is known, long before the wait is over: as soon as the job is in the ledger."""
    answers = take(request(ONE, "Prefer: wait=60"))
    lane._house.waiting.close()
    end = time.monotonic() + 10
    while answers.empty() and time.monotonic() < end:
        lane.turn()
        time.sleep(0.02)
    assert parsed(answers.get(timeout=1))[0] == 202


@pytest.mark.parametrize("more", [[], ["Prefer: wait=1"]], ids=["at once", "after a wait"])
def test_no_202_while_the_commit_hangs(take: Take, lane: Express, database: Database, more: list[str]) -> None:
    """Also not when the client's wait has run out long ago, nor when the process stops; once it is committed there is one."""
    gate = threading.Event()
    event.listen(database._lax, "commit", lambda _: gate.wait(20))
    answers = take(request(ONE, *more))
    if more:
        lane._house.waiting.close()
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        lane.turn()
        assert answers.empty()
        time.sleep(0.02)
    gate.set()
    while answers.empty() and time.monotonic() < end + 10:
        lane.turn()
        time.sleep(0.02)
    status, _, said = parsed(answers.get(timeout=1))
    with database.read() as tx:
        assert status == 202 and said["id"] in jobs.get_many(tx, [said["id"]])


def test_a_database_that_is_gone_is_503(take: Take, database: Database) -> None:
    """The commit fails: 503 with Retry-After, whether the client waits or not."""

    @event.listens_for(database._lax, "begin")
    def gone(_: object) -> None:
        raise FAULTS[-1]("the database is gone")

    for more in ([], ["Prefer: wait=20"]):
        status, headers, said = parsed(take(request(ONE, *more)).get(timeout=10))
        assert (status, headers["Content-Type"], said["status"]) == (503, "application/problem+json", 503)
        assert int(headers["Retry-After"]) >= 1


def test_no_query_but_the_insert(take: Take, database: Database) -> None:
    """A token, a model and the room are known from a second ago: the accept path asks the database nothing."""
    said: list[str] = []
    for engine in (database.engine, database._lax):
        event.listen(engine, "checkout", lambda connection, *_: connection.set_trace_callback(said.append))
    assert parsed(take(request()).get(timeout=10))[0] == 202
    assert [statement.split()[0] for statement in said] == ["BEGIN", "INSERT", "COMMIT"]


PARTS = [request()[:size] for size in (1, 30, 120, len(request()) - 1)]


@pytest.mark.parametrize("part", PARTS, ids=len)
def test_a_part_of_a_request_waits_for_the_rest(lane: Express, part: bytes) -> None:
    """Nothing is taken of it."""
    assert lane.take(part, lambda _: pytest.fail("an answer to half a request")) == 0


UNUSUAL = {
    "another method": request().replace(b"POST", b"PUT", 1),
    "another path": request().replace(b"/predict", b"/predict?wait=1", 1),
    "http 1.0": request().replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "no token": request(without="Authorization"),
    "a wrong token": request(token="wrong"),
    "another scheme": request().replace(b"Bearer", b"Basic", 1),
    "two tokens": request(ONE, f"Authorization: Bearer {KEY}"),
    "no host": request(without="Host"),
    "a strange host": request().replace(b"127.0.0.1:8000", b"a b", 1),
    "no length": request(without="Content-Length"),
    "two lengths": request(ONE, "Content-Length: 1"),
    "a signed length": request(without="Content-Length").replace(b"\r\n\r\n", b"\r\nContent-Length: +9\r\n\r\n", 1),
    "too long": request(ONE, without="Content-Length").replace(
        b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % (MOST_BODY + 1), 1
    ),
    "in chunks": request(ONE, "Transfer-Encoding: chunked"),
    "encoded": request(ONE, "Content-Encoding: gzip"),
    "a key": request(ONE, "Idempotency-Key: k"),
    "expects": request(ONE, "Expect: 100-continue"),
    "closes": request(ONE, "Connection: close"),
    "upgrades": request(ONE, "Upgrade: h2c"),
    "an unknown header": request(ONE, LONG_WAY),
    "a folded header": request(ONE, "Accept: a\r\n b"),
    "a bare line feed": request(ONE, "Accept: a\nIdempotency-Key: k"),
    "a space before the colon": request(ONE, "Accept : a"),
    "bytes in a header": request(ONE, "Accept: \xff"),
    "another media type": request().replace(b"application/json", b"text/csv", 1),
    "no json": request(b"{"),
    "not utf-8": request(b'{"model":"\xff","instances":[[1,2]]}'),
    "a list": request(b"[]"),
    "an unknown key": request(ONE | {"more": 1}),
    "the older form": request({"model": "plane", "features": [1, 2]}),
    "an unknown model": request({"model": "nobody", "instances": [[1, 2]]}),
    "no rows": request({"model": "plane", "instances": []}),
    "a narrow row": request({"model": "plane", "instances": [[1]]}),
    "text": request({"model": "plane", "instances": [[1, "2"]]}),
    "true": request({"model": "plane", "instances": [[1, True]]}),
    "null": request({"model": "plane", "instances": [[1, None]]}),
    "nan": request(b'{"model":"plane","instances":[[1,NaN]]}'),
    "infinite": request(b'{"model":"plane","instances":[[1,1e999]]}'),
    "many rows": request({"model": "plane", "instances": [[1, 2]] * 1001}),
}


@pytest.mark.parametrize("raw", UNUSUAL.values(), ids=UNUSUAL)
def test_what_is_unusual_is_left_to_flask(take: Take, raw: bytes, database: Database) -> None:
    """NotPlain, and nothing was handed in."""
    with pytest.raises(NotPlain):
        take(raw)


def test_a_model_or_room_that_was_looked_at_long_ago_is_flasks(lane: Express) -> None:
    """Before anybody has looked, the lane knows nothing and takes nothing."""
    with pytest.raises(NotPlain):
        lane.take(request(), lambda _: None)


def test_what_is_used_is_renewed(take: Take, lane: Express) -> None:
    """A second later the lane still takes requests: what it knows was looked at again meanwhile, aside."""
    take(request()).get(timeout=10)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        lane.turn()
        time.sleep(0.02)
    assert parsed(take(request()).get(timeout=10))[0] == 202


def test_a_small_role_and_a_revoked_token_are_flasks_to_refuse(take: Take, ask: Ask) -> None:
    """A viewer's token never opens the lane; a client's does until it is revoked, to the request."""
    made = {role: ask("POST", "/tokens", json={"name": role, "role": role}).get_json() for role in ("viewer", "client")}
    for role in made:
        assert ask("GET", "/jobs", headers={"Authorization": f"Bearer {made[role]['token']}"}).status_code == 200
    with pytest.raises(NotPlain):
        take(request(token=made["viewer"]["token"]))
    assert parsed(take(request(token=made["client"]["token"])).get(timeout=10))[0] == 202
    assert ask("DELETE", f"/tokens/{made['client']['id']}").status_code == 204
    with pytest.raises(NotPlain):
        take(request(token=made["client"]["token"]))


# ---- both lanes of a real server


@pytest.fixture(scope="module")
def server(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("lanes")
    (folder / "ledger.db").write_bytes(template.read_bytes())
    port = free_port()
    process = start(folder, API_KEY=KEY, API_PORT=str(port), REDIS_URL="redis://127.0.0.1:1/0")
    ready(f"http://127.0.0.1:{port}")
    yield port
    status, printed = stop(process)
    assert (status, "Traceback" in printed) == (0, False), printed


def spoken(port: int, raw: bytes, pieces: int = 1) -> Answer:
    """The answer to these bytes, sent in so many pieces."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        step = -(-len(raw) // pieces)
        for begin in range(0, len(raw), step):
            line.sendall(raw[begin : begin + step])
            time.sleep(0.01 if pieces > 1 else 0)
        return _read(line)


def _read(line: socket.socket) -> Answer:
    got = b""
    while not (found := re.search(rb"Content-Length: (\d+)\r\n(?:.*\r\n)*?\r\n", got)) or len(got) < found.end() + int(found[1]):
        more = line.recv(65536)
        assert more, got
        got += more
    return parsed(got)


def shape(answer: Answer) -> object:
    """An answer without what differs from request to request."""
    status, headers, said = answer
    job_id = said.get("id", "no job")
    text = json.dumps(said).replace(job_id, "ID")
    text = re.sub(r'"(created_at|request_id)": "[^"]*"', r'"\1": "…"', text)
    fixed = {name: value.replace(job_id, "ID") for name, value in headers.items() if name not in ("Date", "X-Request-ID")}
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", headers["Date"])
    assert headers["X-Request-ID"]
    return status, fixed, text


REQUESTS = {
    "one row": (ONE, []),
    "several rows": ({"model": "plane", "instances": [[1, 2], [3, 4], [-1e300, 0]]}, []),
    "objects": ({"model": "plane", "instances": [{"x2": 1, "x1": 2}]}, []),
    "a request id": (ONE, ["X-Request-ID: mine.1"]),
    "an insane request id": (ONE, ["X-Request-ID: two words"]),
    "a wait that runs out": (ONE, ["Prefer: wait=1"]),
    "a preference unheard of": (ONE, ["Prefer: respond-async"]),
    "harmless headers": (ONE, ["Accept: */*", "User-Agent: someone/1.0", "Accept-Encoding: gzip, br"]),
    "a narrow row": ({"model": "plane", "instances": [[1]]}, []),
    "an unknown model": ({"model": "nobody", "instances": [[1, 2]]}, []),
    "the older form": ({"model": "plane", "features": [1, 2]}, []),
}


@pytest.mark.parametrize(("body", "more"), REQUESTS.values(), ids=REQUESTS)
def test_both_lanes_give_the_same_answer(server: int, body: Any, more: list[str]) -> None:
    """Status, every header and the body are the same down the express lane and down Flask's, ids and times aside."""
    long_way = spoken(server, request(body, *more, LONG_WAY))
    assert shape(spoken(server, request(body, *more))) == shape(long_way)
    if "X-Request-ID: mine.1" in more:
        assert spoken(server, request(body, *more))[1]["X-Request-ID"] == "mine.1"


@pytest.mark.parametrize("raw", [request(), request(ONE, LONG_WAY)], ids=["express", "flask"])
def test_requests_arrive_in_pieces_and_in_rows(server: int, raw: bytes) -> None:
    """Sent in three pieces, and several on one connection without waiting for the answers: each is answered, in order."""
    assert spoken(server, raw, pieces=3)[0] == 202
    with socket.create_connection(("127.0.0.1", server), timeout=20) as line:
        ids = [f"row-{n}" for n in range(4)]
        line.sendall(b"".join(raw.replace(b"\r\n\r\n", f"\r\nX-Request-ID: {each}\r\n\r\n".encode(), 1) for each in ids))
        got = b""
        while got.count(b'/events"}}') < len(ids):
            got += line.recv(65536)
    assert re.findall(rb"X-Request-ID: (\S+)", got) == [each.encode() for each in ids]
    assert got.count(b"HTTP/1.1 202 ACCEPTED") == len(ids)


def test_half_a_request_is_flasks_to_wait_for(server: int) -> None:
    """The rest comes late, from a slow client: answered all the same."""
    raw = request()
    with socket.create_connection(("127.0.0.1", server), timeout=20) as line:
        line.sendall(raw[:-5])
        time.sleep(0.5)
        line.sendall(raw[-5:])
        assert _read(line)[0] == 202
        line.sendall(raw)  # and the connection serves on
        assert _read(line)[0] == 202


def test_a_body_that_ends_early_is_400(server: int) -> None:
    """The client hangs up its side before the body is whole."""
    with socket.create_connection(("127.0.0.1", server), timeout=20) as line:
        line.sendall(request()[:-5])
        line.shutdown(socket.SHUT_WR)
        assert _read(line)[0] == 400
