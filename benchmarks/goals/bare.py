"""The bare server: it drops what is sent, says at once that the job has succeeded, and sends a file."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from benchmarks.goals.carry import Wire
from benchmarks.stack import ROOT

DONE = b'{"id":"bare","status":"succeeded"}'


class Bare:
    """The server in a process of its own, and the file that it serves."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "bare"
        self._file.touch()

    def __enter__(self) -> Bare:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = int(listener.getsockname()[1])
            command = [sys.executable, "-m", __name__, str(listener.fileno()), str(self._file)]
            self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[listener.fileno()])
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def keep(self, answer: bytes) -> None:
        """Serve this from now on."""
        self._file.write_bytes(answer)

    def wire(self) -> Wire:
        """Where it listens; it asks for no token."""
        return Wire(self._port, "")


def serve(listener: socket.socket, file: Path) -> None:
    """One connection after the other, for ever."""
    space = bytearray(1 << 20)
    while True:
        line, _ = listener.accept()
        with line:
            _talk(line, file, space)


def _talk(line: socket.socket, file: Path, space: bytearray) -> None:
    received = b""
    while True:
        while b"\r\n\r\n" not in received:
            data = line.recv(65_536)
            if not data:
                return
            received += data
        head, _, received = received.partition(b"\r\n\r\n")
        if head.startswith(b"GET"):
            _send(line, file)
            continue
        left = _length(head) - len(received)
        received = b""
        while left > 0:
            left -= line.recv_into(space)
        line.sendall(_head(len(DONE)) + DONE)


def _send(line: socket.socket, file: Path) -> None:
    with file.open("rb") as content:
        line.sendall(_head(file.stat().st_size))
        line.sendfile(content)


def _head(length: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length


def _length(head: bytes) -> int:
    lower = head.lower()
    at = lower.index(b"\r\ncontent-length:") + 17
    return int(lower[at:].split(b"\r\n", 1)[0])


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]))
