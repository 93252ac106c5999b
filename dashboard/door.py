"""The door in front of Streamlit: nobody without a session gets a page, a file or a socket, and no answer leaves bare.

An ASGI middleware. The login is a page of plain HTML, so that a stranger is shown no line of the dashboard itself.
"""

from __future__ import annotations

import html
import math
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.lockout import SESSION_S, Lockout, Sessions

COOKIE = "continual_session"
OPEN = {"/_stcore/health"}
LOGIN, LOGOUT, STYLE = "/login", "/logout", "/login.css"
MOST_BYTES = 4096  # of a login form
STATIC = Path(__file__).parent / "static"
OVER = 1008  # the WebSocket's "policy violation"
# Streamlit builds its styles at run time, and its charts compile their expressions.
PAGES = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; object-src 'none'; frame-ancestors 'none'"
)
PLAIN = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "X-Frame-Options": "DENY"}


class Door:
    """Lets those with a session through; answers /login and /logout itself.

    Args:
        proxy_hops: how many proxies stand before it, whose word about the client's address and scheme is taken.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions, lockout: Lockout, proxy_hops: int = 0) -> None:
        self._app, self._sessions, self._lockout, self._hops = app, sessions, lockout, proxy_hops

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request here, or hand it on."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        elif scope["type"] == "http":
            answer = await self._answer(Request(scope, receive))
            if answer is None:
                await self._app(scope, receive, _with_headers(send, PAGES))
            else:
                await answer(scope, receive, _with_headers(send, PLAIN))
        else:
            await self._app(scope, receive, send)

    async def _answer(self, request: Request) -> Response | None:
        """What the door itself says; None lets the request through."""
        path = request.url.path
        if path == LOGIN:
            return await self._enter(request) if request.method == "POST" else _login_page(_target(request))
        if path == STYLE:
            return Response((STATIC / "login.css").read_bytes(), media_type="text/css")
        if path == LOGOUT:
            return self._leave(request)
        if path in OPEN or self._sessions.is_open(_secret(request)):
            return None
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(f"{LOGIN}?{_query(path, request.url.query)}", 303)
        return PlainTextResponse("Log in first.", 401)

    async def _enter(self, request: Request) -> Response:
        if not _same_site(request.headers):
            return PlainTextResponse("A login comes from the login page.", 403)
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > MOST_BYTES:
                return PlainTextResponse("The form is too large.", 413)
        form = parse_qs(body.decode("utf-8", "replace"))
        address, target = self._address(request), _inside(form.get("next", [""])[0])
        if wait := self._lockout.wait_s(address):
            again = math.ceil(wait)
            said = f"Too many wrong passwords. Try again in {again} s."
            return _login_page(target, said, 429, {"Retry-After": str(again)})
        if not self._sessions.is_password(form.get("password", [""])[0]):
            self._lockout.failed(address)
            return _login_page(target, "That is not the password.", 401)
        self._lockout.succeeded(address)
        secret, until = self._sessions.begin()
        answer = RedirectResponse(target, 303)
        secure = (self._forwarded(request, "x-forwarded-proto") or request.url.scheme) == "https"
        value = f"{secret}.{until:.0f}"  # the end is told to the page; it is held to here
        answer.set_cookie(COOKIE, value, int(SESSION_S), httponly=True, samesite="lax", secure=secure)
        return answer

    def _address(self, request: Request) -> str:
        return self._forwarded(request, "x-forwarded-for") or (request.client.host if request.client else "")

    def _forwarded(self, request: Request, header: str) -> str:
        """What the outermost of our proxies says; what stands before that in the list anybody may have written."""
        told = [each.strip() for value in request.headers.getlist(header) for each in value.split(",")]
        return told[-self._hops] if 0 < self._hops <= len(told) else ""

    def _leave(self, request: Request) -> Response:
        if not _same_site(request.headers):
            return PlainTextResponse("A logout comes from the dashboard.", 403)
        self._sessions.end(_secret(request))
        answer = RedirectResponse(LOGIN, 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="lax")
        return answer

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A socket lives as long as its session: each message is looked at, and pages send one every few seconds."""
        secret = _secret(HTTPConnection(scope))
        if not self._sessions.is_open(secret):
            await send({"type": "websocket.close", "code": OVER})
            return

        async def received() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive" and not self._sessions.is_open(secret):
                return {"type": "websocket.disconnect", "code": OVER}
            return message

        await self._app(scope, received, send)


def _secret(request: HTTPConnection) -> str:
    return request.cookies.get(COOKIE, "").partition(".")[0]


def _same_site(headers: Headers) -> bool:
    """Whether a browser says that the request comes from this very site; old ones say it by their Origin, if at all."""
    origin = headers.get("origin")
    return headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none") and (
        origin is None or urlsplit(origin).netloc == headers.get("host")
    )


def _inside(target: str) -> str:
    """A path of this dashboard; anything that could lead out of it is the first page."""
    safe = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable() and "\\" not in target
    return target if safe and not target.startswith((LOGIN, LOGOUT)) else "/"


def _target(request: Request) -> str:
    return _inside(request.query_params.get("next", "/"))


def _query(path: str, query: str) -> str:
    return f"next={quote(f'{path}?{query}' if query else path, safe='/')}"


def _login_page(target: str, said: str = "", status: int = 200, headers: dict[str, str] | None = None) -> Response:
    page = (STATIC / "login.html").read_text()
    told = f'<p class="wrong" role="alert">✕ {html.escape(said)}</p>' if said else ""
    return HTMLResponse(page.replace("{said}", told).replace("{next}", html.escape(target)), status, headers)


def _with_headers(send: Send, policy: str) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(SAFE)
            headers["Content-Security-Policy"] = policy
        await send(message)

    return sent
