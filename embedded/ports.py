"""Which ports are free, and who holds the ones that are not."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

LISTEN = "0A"  # the state's code in /proc/net/tcp


class PortTaken(RuntimeError):
    """A port is somebody else's; the text says whose, and what to do."""


def check(host: str, port: int, variable: str) -> None:
    """See that this process could listen there.

    Raises:
        PortTaken: it could not; names the holder where the system tells.
    """
    if not is_free(host, port):
        raise PortTaken(f"Port {port} is taken by {_holder(port)}. Set {variable} or stop it.")


def is_free(host: str, port: int) -> bool:
    """Whether one can listen on (host, port) now.

    Raises:
        OSError: for any other reason than the port's being taken, such as a foreign address.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as refused:
            if refused.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _holder(port: int) -> str:
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in Path("/proc").glob("[0-9]*"):
        if sockets & set(_open_files(process)):
            return f"another process (pid {process.name}, {(process / 'comm').read_text().strip()})"
    return "another process"


def _listening(port: int) -> Iterator[str]:
    """Inodes of the sockets that listen on a port (Linux; elsewhere none)."""
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if table.exists():
            for line in table.read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _open_files(process: Path) -> list[str]:
    """Targets of a process's file descriptors; none where it is another user's or has just ended."""
    try:
        return [_target(link) for link in (process / "fd").iterdir()]
    except OSError:
        return []


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed since it was listed
        return ""
