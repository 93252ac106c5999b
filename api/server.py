"""The HTTP server: gunicorn, whose loop offers each request to the express lane before it gives it to a thread.

A connection rests in the loop. What arrives on it is read there; if the express lane takes it, the answer is sent from
the loop as well and no thread ever knew. Otherwise a thread gets the connection and the bytes read so far, and gunicorn
goes on as it always does.
"""

from __future__ import annotations

import errno
import gc
import math
import re
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.workers.gthread import TConn, ThreadWorker

from api import unreadable
from api.app import create_app
from api.errors import Refused
from api.express import Express
from api.head import NotPlain
from api.house import House
from settings import Settings
from storage.database import Database

LOCAL_REDIS = "redis://127.0.0.1:6379/0"  # started on its own, without the embedded broker's address
GRACE_S = 3
KEPT, BURST = 4, 28  # connections to the ledger: each has files and a cache, and few are in use but for moments
BUSY_S = 8.0  # a client that is told to come again is better off than one that gave up waiting, which mostly is after 10 s
KEEPALIVE_S = 75
CHUNK = 64 << 10
PARTIAL_S = 0.05  # the rest of a body has so long to arrive in the loop; then a thread waits for it
WHOLE_S = 10.0  # a head, and a small body, have so long to arrive whole, in the loop: whoever sends slowly holds no thread
PART_S = 2.0  # a peer has so long to read the last answer and close; what it sends meanwhile is dropped
LEFT_S = 0.1
MOST_HEAD = SMALL_BODY = 64 << 10
HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"(?i)\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*(?:\r\n|$)")
EXPECTS = re.compile(rb"(?i)\r\nexpect:")  # a sender that waits for 100 Continue, which a thread tells it
STAYS, GOES = b"Connection: keep-alive\r\n", b"Connection: close\r\n"


class Line(TConn):  # type: ignore[misc]
    """A connection.

    Attributes:
        held: bytes that were read and belong to nobody yet.
        busy: the express lane has taken a request of it and owes the answer.
        paused: something arrived meanwhile; the loop does not look at it until the answer is sent.
        used_at: when something last happened here, steady seconds.
        whole_until: when a request that has begun must be whole, steady seconds; infinite where none has begun.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.held = b""
        self.busy = self.paused = False
        self.used_at = time.monotonic()
        self.whole_until = math.inf


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's thread worker with an express lane in its loop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.keepalived_conns: set[Line] = set()  # those in the loop; gunicorn only asks how many there are
        self._partial: deque[tuple[float, Line, bytes]] = deque()
        self._begun: deque[tuple[float, Line]] = deque()
        self._parting: dict[Line, float] = {}
        self._swept_at = 0.0
        self.house: House | None = None

    def run(self) -> None:
        """Serve until told to stop."""
        self.house = house = cast(House, self.wsgi.extensions["house"])
        self.express = Express(house, self.method_queue.defer, self.tpool.submit)
        gc.collect()
        gc.freeze()  # what was imported stays, and need not be looked through again and again
        super().run()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin the graceful stop: long polls and event streams end at once instead of holding it up."""
        if self.alive and self.house is not None:
            self.method_queue.defer(self.house.waiting.close)  # not here: the signal may have come while its lock is held
        super().handle_exit(sig, frame)

    # ---- connections in the loop

    def accept(self, listener: socket.socket) -> None:
        """Take a new connection into the loop."""
        try:
            client, address = listener.accept()
        except OSError as fault:
            if fault.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self._make_room()
        self.nr_conns += 1
        line = Line(self.cfg, client, address, listener.getsockname())
        self._rest(line)
        self._readable(line, client)  # a request has mostly come with it

    def _make_room(self) -> None:
        """When there are as many connections as there may be, the one that has rested longest goes."""
        if self.nr_conns < self.worker_connections - 1:
            return
        resting = [line for line in self.keepalived_conns if not line.busy]
        if self._parting:
            self._end(next(iter(self._parting)))
        elif resting:
            self._drop(min(resting, key=lambda line: line.used_at))

    def _rest(self, line: Line) -> None:
        line.sock.setblocking(False)
        line.used_at, line.whole_until = time.monotonic(), math.inf
        self.keepalived_conns.add(line)
        self.poller.register(line.sock, selectors.EVENT_READ, partial(self._readable, line))

    def _leave(self, line: Line) -> None:
        self.keepalived_conns.discard(line)
        if not line.paused:
            self.poller.unregister(line.sock)
        line.paused = False

    def _drop(self, line: Line) -> None:
        self._leave(line)
        self.nr_conns -= 1
        line.close()

    def _part(self, line: Line) -> None:
        """Close a connection that has left the loop so that its peer can still read what was sent last (RFC 9112, 9.6).

        It comes back into the loop for that: gunicorn would wait for the peer, and let everybody else wait with it.
        """
        try:
            line.sock.setblocking(False)
            line.sock.shutdown(socket.SHUT_WR)
        except OSError:  # the peer is gone
            self.nr_conns -= 1
            line.close()
            return
        self._parting[line] = time.monotonic() + PART_S
        self.poller.register(line.sock, selectors.EVENT_READ, partial(self._last_words, line))

    def _last_words(self, line: Line, client: socket.socket) -> None:
        if line not in self._parting:  # closed in this turn, to make room for another
            return
        try:
            data = client.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._end(line)

    def _end(self, line: Line) -> None:
        del self._parting[line]
        self.poller.unregister(line.sock)
        self.nr_conns -= 1
        line.close()

    def _readable(self, line: Line, client: socket.socket) -> None:
        if line not in self.keepalived_conns:  # closed in this turn, to make room for another
            return
        if line.busy:  # a request behind the one that is being answered, or the end of the connection
            self.poller.unregister(client)
            line.paused = True
            return
        try:
            data = client.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(line)
            return
        line.used_at = time.monotonic()
        if data:
            line.held += data
            self._offer(line)
        elif line.held:
            self._to_thread(line)
        else:
            self._drop(line)

    def _offer(self, line: Line) -> None:
        try:
            size = self.express.take(line.held, partial(self._answer, line))
        except NotPlain:
            self._hand_over(line)
            return
        if size:
            line.busy, line.held, line.whole_until = True, line.held[size:], math.inf
        else:
            self._partial.append((time.monotonic() + PARTIAL_S, line, line.held))

    def _answer(self, line: Line, data: bytes) -> None:
        stays = self.alive and len(self.keepalived_conns) < self.max_keepalived
        if not stays:
            data = data.replace(STAYS, GOES, 1)
        line.busy = False
        try:
            sent = line.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(line)
            return
        if sent < len(data):
            self._leave(line)
            self._submit(line, self._send_rest, data[sent:], stays)
        elif not stays:
            self._leave(line)
            self._part(line)
        else:
            self._go_on(line)

    def _go_on(self, line: Line) -> None:
        line.used_at = time.monotonic()
        if line.paused:
            line.paused = False
            self.poller.register(line.sock, selectors.EVENT_READ, partial(self._readable, line))
        if line.held:
            self._offer(line)

    # ---- to a thread and back

    def _hand_over(self, line: Line) -> None:
        """To a thread, once it need not wait for a slow sender; what begins like no request, TLS say, at once."""
        if _is_whole(line.held) or not line.held[:1].isupper():
            self._to_thread(line)
        elif len(line.held) > MOST_HEAD and HEAD_END not in line.held:
            self._refuse(line, unreadable.TOO_LONG)
        elif line.whole_until == math.inf:
            line.whole_until = time.monotonic() + WHOLE_S
            self._begun.append((line.whole_until, line))

    def _refuse(self, line: Line, refused: Refused) -> None:
        with suppress(OSError):  # a peer that is gone, or takes nothing, hears nothing
            line.sock.send(unreadable.answer(refused))
        self._leave(line)
        self._part(line)

    def _to_thread(self, line: Line) -> None:
        self._leave(line)
        self._submit(line, self.handle)

    def _submit(self, line: Line, work: Callable[..., Any], *arguments: Any) -> None:
        """Have a thread do something with a connection and then give it back; true if it stays open."""
        done = self.tpool.submit(work, line, *arguments)
        done.add_done_callback(lambda future: self.method_queue.defer(self.finish_request, line, future))

    def _send_rest(self, line: Line, rest: bytes, stays: bool) -> bool:
        """What the socket did not take at once; a peer that takes nothing for SLOW_S is given up."""
        line.sock.setblocking(True)
        line.sock.sendall(rest)
        return stays

    def handle(self, conn: Line) -> Any:
        """Let gunicorn read on from what the loop has read."""
        held, conn.held, conn.data_ready = conn.held, b"", True
        conn.sock.setblocking(True)
        conn.init()
        conn.parser.unreader.unread(held)
        return super().handle(conn)

    def handle_error(self, _: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer what gunicorn could not read, or could not answer, as every refusal is."""
        client.setblocking(False)
        with suppress(OSError):
            client.send(unreadable.answer(unreadable.refusal(exc, str(addr[0] if addr else ""))))

    def _keepalive_after(self, conn: Line, keepalive: bool) -> bool:
        """What is left of a refused body has been waited for already (`bodies.drain`); gunicorn would wait 5 s more."""
        return keepalive and bool(conn.parser.finish_body(deadline=time.monotonic() + LEFT_S))

    def finish_request(self, conn: Line, fs: Any) -> None:
        """A thread is done with a connection: back into the loop with it, if it stays."""
        if not self.alive or fs.cancelled() or fs.exception() is not None or not fs.result():
            self._part(conn)
            return
        self._rest(conn)
        if conn.parser is not None:
            conn.held += conn.parser.unreader.take_buffered()
        if conn.held:
            self._offer(conn)

    # ---- time

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """One turn of the loop."""
        if self._partial:
            timeout = min(timeout, max(0.0, self._partial[0][0] - time.monotonic()))
        super().wait_for_and_dispatch_events(min(timeout, self.express.due_s()))
        self.express.turn()
        now = time.monotonic()
        while self._partial and self._partial[0][0] <= now:
            _, line, seen = self._partial.popleft()
            if line.held is seen and not line.busy and line in self.keepalived_conns:
                self._hand_over(line)
        while self._begun and self._begun[0][0] <= now:
            until, line = self._begun.popleft()
            if line.whole_until == until and line in self.keepalived_conns:
                self._refuse(line, unreadable.TOO_LATE)
        for line in [line for line, until in self._parting.items() if until <= now]:
            self._end(line)

    def murder_keepalived(self) -> None:
        """Close connections on which nothing has happened for long; when the server stops, all that rest."""
        now = time.monotonic()
        if self.alive and now - self._swept_at < 1:
            return
        self._swept_at = now
        for line in list(self.keepalived_conns):
            if not line.busy and not line.held and (now - line.used_at > self.cfg.keepalive or not self.alive):
                self._drop(line)


def _is_whole(held: bytes) -> bool:
    """Whether the head has arrived, and the body if it is a small one; a large one is read as it comes."""
    head, end, body = held.partition(HEAD_END)
    length = LENGTH.search(head)
    if not end or length is None or EXPECTS.search(head):
        return bool(end)
    return int(length[1]) > SMALL_BODY or len(body) >= int(length[1])


class Server(BaseApplication):  # type: ignore[misc]
    """One gunicorn process of many threads; the app is made in it, after the fork, because it starts threads."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings, self._listener = settings, listener
        super().__init__()

    def load_config(self) -> None:
        """gunicorn's settings; none come from files or the command line."""
        scratch = self._settings.data_dir / "tmp"
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        chosen = {
            "bind": f"fd://{self._listener.fileno()}",
            "workers": 1,
            "worker_class": Worker,
            "threads": self._settings.api_threads,
            "worker_connections": 1_000 + self._settings.api_threads,
            "timeout": 60,
            "graceful_timeout": GRACE_S,
            "keepalive": KEEPALIVE_S,
            "worker_tmp_dir": str(scratch),
            "control_socket_disable": True,
            "accesslog": None,
            "loglevel": "warning",
            "proc_name": "continual-api",
        }
        for name, value in chosen.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """The WSGI app, in the process that serves."""
        database = Database(self._settings.ledger_url, pool_size=KEPT, burst=BURST, busy_s=BUSY_S)
        return create_app(self._settings, database, self._settings.redis_url or LOCAL_REDIS)
