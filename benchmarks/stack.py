"""The real stack, started as users start it (`python -m embedded up`), on a folder and ports of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import redis

from benchmarks import processes
from benchmarks.processes import Seen
from embedded.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
PROBLEMS = ROOT / "benchmarks" / "chaos" / "problems"
START_S = 400.0  # on a machine that is busy with other things


def until(what: Callable[[], object], seconds: float, name: str) -> None:
    """Wait for something to come true.

    Raises:
        TimeoutError: it did not, within `seconds`; says `name`.
    """
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:.0f} s: {name}")
        time.sleep(0.1)


class Stack:
    """One embedded stack.

    Args:
        folder: what it writes goes here; DATA_DIR is `folder`/data.
        settings: further variables of its environment.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder, self.data = folder.resolve(), folder.resolve() / "data"
        self.port = free_port()
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self.env = {
            **kept,
            "DATA_DIR": str(self.data),
            "API_PORT": str(self.port),
            "FLOWER_PORT": str(free_port()),
            "DASHBOARD_PORT": str(free_port()),
            "MLFLOW_PORT": str(free_port()),
            "CHECK_INTERVAL_SECONDS": "5",
            "PROBLEMS_DIR": str(PROBLEMS),
            **settings,
        }
        self.output = self.folder / "output"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, champion: bool = True) -> None:
        """Bring it up, to the last worker, with a first champion unless beat is not to ask for one in time.

        A start that gave up on a busy machine is tried once more.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._up() and not self._up():
            raise RuntimeError(self.output.read_text())
        until(lambda: self._said("✓ quarantine"), START_S, "every worker is ready")
        if champion:
            until(self._serves, START_S, "a champion serves")

    def _up(self) -> bool:
        with self.output.open("wb") as output:
            command = [sys.executable, "-m", "embedded", "up"]
            self._process = subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=output, stderr=output)
        until(lambda: self._said("\nReady after") or self._ended(), START_S, "the stack is ready")
        return not self._ended()

    def logs(self) -> dict[str, str]:
        """What each process has written, by the name of its file."""
        return {file.name: file.read_text(errors="replace") for file in sorted((self.data / "logs").glob("*.log"))}

    def tracebacks(self) -> dict[str, int]:
        """How many faults that nobody foresaw each log tells of."""
        return {name: count for name, log in self.logs().items() if (count := log.count("Traceback (most recent call last)"))}

    def answers(self) -> bool:
        """Whether the API serves."""
        try:
            with self.client(timeout_s=2.0) as client:
                return client.get("/livez").status_code == 200
        except httpx.HTTPError:
            return False

    def _serves(self) -> bool:
        with self.client() as client:
            return bool(client.get("/model-status").json().get("version"))

    def _said(self, text: str) -> bool:
        return text in self.output.read_text()

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Ctrl-C, or another signal, then whatever is left."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(60)
        self.kill_all()

    def kill_all(self) -> int:
        """kill -9 of every process at once, as near to a power cut as a running machine gets; how many there were."""
        broker = [pid for pid in [self.broker_pid()] if pid]
        count = processes.kill([*(each.pid for each in self.processes()), *broker])
        if self._process is not None:
            self._process.wait(10)
        return count

    def remove(self) -> None:
        """Stop it, and delete what it wrote."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def client(self, timeout_s: float = 30.0) -> httpx.Client:
        """A client with the admin's key."""
        key = (self.data / "api_key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}"}
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        url = f"http://127.0.0.1:{self.port}"
        return httpx.Client(base_url=url, headers=headers, timeout=timeout_s, limits=limits, trust_env=False)

    def processes(self, *roles: str) -> list[Seen]:
        """Its processes, all or of some roles, but for the broker, which hides its environment."""
        return [each for each in processes.of_stack(self.data) if not roles or each.role in roles]

    def broker_pid(self) -> int:
        """The broker's process; 0 while there is none."""
        file = self.data / "broker" / "pid"
        pid = int((file.read_text() if file.exists() else "") or 0)  # empty while it is being written
        return pid if pid and Path(f"/proc/{pid}").exists() else 0

    def mains(self, *roles: str) -> list[int]:
        """The first processes of these roles."""
        found = self.processes(*roles)
        pids = {each.pid for each in found}
        return [each.pid for each in found if each.parent not in pids]

    def children(self, *roles: str) -> list[int]:
        """The pool's processes of these roles."""
        found = self.processes(*roles)
        pids = {each.pid for each in found}
        return [each.pid for each in found if each.parent in pids]

    def broker(self) -> redis.Redis:
        """The embedded broker, with its password."""
        text = (self.data / "broker" / "server.conf").read_text()
        port, password = re.search(r"(?m)^port (\d+)", text), re.search(r"(?m)^requirepass (\S+)", text)
        if not port or not password:
            raise RuntimeError("the broker's configuration names no port or password")
        return redis.Redis(port=int(port[1]), password=password[1], socket_timeout=5)

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of its ledger."""
        given = self.env.get("DATABASE_URL", "").replace("postgresql://", "postgresql+psycopg://")
        return given or f"sqlite:///{self.data / 'ledger.db'}"
