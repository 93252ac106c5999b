"""Nobody gets past the door without a session, by page, file or socket; and no answer leaves without its headers."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from dashboard.door import COOKIE, Door
from dashboard.lockout import FREE_TRIES, SESSION_S, Lockout, Sessions
from embedded.ports import free_port
from tests.dashboard.test_lockout import Clock

HTML = {"Accept": "text/html"}


async def inside(_: object) -> PlainTextResponse:
    return PlainTextResponse("inside")


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        return


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Visitor(httpx.Client):
    """A browser that follows no redirect; its socket carries its cookies."""

    def socket(self) -> ClientConnection:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        url = f"ws://{self.base_url.host}:{self.base_url.port}/_stcore/stream"
        return connect(url, additional_headers={"Cookie": cookies}, proxy=None)


@pytest.fixture
def visitor(clock: Clock) -> Iterator[Visitor]:
    """Someone before a real server, whose door has the password `right`."""
    doors = Middleware(Door, sessions=Sessions("right", clock), lockout=Lockout(clock))
    app = Starlette(routes=[Route("/{path:path}", inside), WebSocketRoute("/_stcore/stream", echo)], middleware=[doors])
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="websockets-sansio"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    with Visitor(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
        yield client
    server.should_exit = True
    thread.join()


def login(visitor: Visitor, password: str = "right", target: str = "/model?model=a") -> int:
    return visitor.post("/login", data={"password": password, "next": target}).status_code


def test_a_stranger_is_led_to_the_login_and_back_to_where_he_was_going(visitor: Visitor) -> None:
    """303 to /login with the path kept, and after the right password 303 to it, with a cookie that no script can read."""
    first = visitor.get("/model?model=a", headers=HTML)
    assert (first.status_code, first.headers["location"]) == (303, "/login?next=/model%3Fmodel%3Da")
    page = visitor.get(first.headers["location"])
    assert page.status_code == 200
    assert 'value="/model?model=a"' in page.text
    entered = visitor.post("/login", data={"password": "right", "next": "/model?model=a"})
    assert (entered.status_code, entered.headers["location"]) == (303, "/model?model=a")
    cookie = entered.headers["set-cookie"]
    assert re.search(r"(?i)httponly", cookie)
    assert re.search(r"(?i)samesite=lax", cookie)
    assert visitor.get("/model").text == "inside"


def test_files_and_uploads_are_closed_too(visitor: Visitor) -> None:
    """401 without a session for everything but the page of health, in any spelling; 200 with one."""
    closed = ("/", "/static/js/index.js", "/_stcore/upload_file/1/2", "/media/x.csv", "/_stcore/host-config", "/login/", "/Login")
    for path in closed:
        assert visitor.get(path).status_code in (303, 401), path
    assert visitor.get("/_stcore/health").status_code == 200
    login(visitor)
    assert visitor.get("/static/js/index.js").status_code == 200


def test_a_socket_opens_with_a_session_only_and_ends_with_it(visitor: Visitor, clock: Clock) -> None:
    """Refused before a login; after twelve hours the next message closes it."""
    with pytest.raises(InvalidStatus):
        visitor.socket()
    login(visitor)
    with visitor.socket() as socket:
        socket.send("still there?")
        assert socket.recv() == "still there?"
        clock.now += SESSION_S
        socket.send("still there?")
        with pytest.raises(ConnectionClosed):
            socket.recv()
    with pytest.raises(InvalidStatus):
        visitor.socket()


def test_a_session_is_over_after_a_logout_even_for_who_kept_the_cookie(visitor: Visitor) -> None:
    """The cookie is sent again by hand, and opens nothing."""
    login(visitor)
    kept = visitor.cookies[COOKIE]
    assert visitor.get("/logout").headers["location"] == "/login"
    assert visitor.get("/", headers={"Cookie": f"{COOKIE}={kept}"}).status_code == 401


def test_wrong_passwords_wait_and_the_right_one_has_to_wait_as_well(visitor: Visitor, clock: Clock) -> None:
    """401 five times, then 429 with Retry-After, whatever the password; after the wait the door opens."""
    assert [login(visitor, "wrong") for _ in range(FREE_TRIES)] == [401] * FREE_TRIES
    locked = visitor.post("/login", data={"password": "right"})
    assert (locked.status_code, locked.headers["retry-after"]) == (429, "1")
    assert "Try again in 1 s" in locked.text
    clock.now += 1.5
    assert login(visitor) == 303


OUT = ("//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example", "javascript:alert(1)", "/logout")


@pytest.mark.parametrize("target", OUT)
def test_no_login_leads_out_of_the_dashboard(visitor: Visitor, target: str) -> None:
    """A target that is no path of ours is the first page."""
    answer = visitor.post("/login", data={"password": "right", "next": target})
    assert answer.headers["location"] == "/"


def test_what_a_stranger_sends_is_escaped(visitor: Visitor) -> None:
    """A path with a script in it comes back as text."""
    page = visitor.get("/login?next=/%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert "<script" not in page.text


def test_a_form_of_another_site_neither_logs_in_nor_out(visitor: Visitor) -> None:
    """403, by what the browser says of where the request comes from."""
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        assert visitor.post("/login", data={"password": "right"}, headers=headers).status_code == 403
        assert visitor.get("/logout", headers=headers).status_code == 403


def test_a_login_form_is_small(visitor: Visitor) -> None:
    """413 for more than a password could be; garbage is a wrong password."""
    assert visitor.post("/login", content=b"x" * 10_000).status_code == 413
    assert visitor.post("/login", content=b"\xff\xfe&&==").status_code == 401


def test_every_answer_says_what_a_browser_may_do_with_it(visitor: Visitor) -> None:
    """No other host, no frame, no sniffing: on the login, on a refusal, on a page."""
    login(visitor)
    for path in ("/login", "/login.css", "/", "/logout"):
        headers = visitor.get(path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "http" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
