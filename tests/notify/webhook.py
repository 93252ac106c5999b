"""A real HTTP server that plays Discord's webhook endpoint, for tests."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "s3cr3t-webhook-token"


@dataclass
class Answer:
    """One answer to give: a dict goes out as JSON; `delay` in seconds comes before it."""

    status: int
    body: dict[str, Any] | bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass
class Seen:
    """One request as it came."""

    method: str
    path: str
    content_type: str
    body: bytes

    @property
    def payload(self) -> Any:
        """The JSON that came, as the body or as the multipart's `payload_json`."""
        return json.loads(self.parts["payload_json"] if "multipart" in self.content_type else self.body)

    @property
    def parts(self) -> dict[str, bytes]:
        """The parts of a multipart body by name."""
        whole = message_from_bytes(f"Content-Type: {self.content_type}\r\n\r\n".encode() + self.body)
        found = [part for part in whole.walk() if not part.is_multipart()]
        return {str(part.get_param("name", header="content-disposition")): _decoded(part) for part in found}


def _decoded(part: Any) -> bytes:
    content: bytes = part.get_payload(decode=True)
    return content


class Webhook:
    """Gives the answers in order and keeps what it was asked.

    Attributes:
        answers: still to be given; when none is left, 200 with an id that counts.
        seen: every request.
        url: the webhook's address, with a secret in it as Discord's has.
    """

    def __init__(self, port: int) -> None:
        self.answers: list[Answer] = []
        self.seen: list[Seen] = []
        self.url = f"http://127.0.0.1:{port}/api/webhooks/123/{TOKEN}"

    def answer(self, seen: Seen) -> Answer:
        """The next answer."""
        self.seen.append(seen)
        return self.answers.pop(0) if self.answers else Answer(200, {"id": str(1000 + len(self.seen))})


@contextmanager
def webhook() -> Iterator[Webhook]:
    """A webhook on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            seen = Seen(self.command, self.path, self.headers.get("Content-Type", ""), body)
            self._say(played.answer(seen))

        do_PATCH = do_GET = do_POST  # noqa: N815 - the base class's names

        def _say(self, answer: Answer) -> None:
            time.sleep(answer.delay)
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(BrokenPipeError):  # a client whose timeout ended has left
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    played = Webhook(server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield played
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
