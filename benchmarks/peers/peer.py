"""A system under test: how it is started, spoken to and stopped. Foreign ones live in environments of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks import processes
from benchmarks.load import Accepting, Later
from benchmarks.stack import ROOT, until
from benchmarks.uv import UV, uv_env
from embedded.ports import free_port

FOREIGN = Path(__file__).parent / "foreign"
CACHE = ROOT / "benchmarks" / ".peers"
CORES = os.cpu_count() or 1
INSTALL_S, START_S = 900, 120
MODELS = ("lr", "rf")


class NotInstalled(RuntimeError):
    """A peer that cannot be had on this machine; says why."""


class Peer(ABC):
    """A system that answers one-row predictions over HTTP on a port of its own.

    Attributes:
        name: as the table has it.
        about: its settings, in one line.
        port: where it listens, once started.
    """

    name: str
    about: str
    port: int = 0

    @abstractmethod
    def start(self, folder: Path, models: Path) -> None:
        """Bring it up on `folder`; `models` holds NAME.joblib for each of MODELS."""

    @abstractmethod
    def stop(self) -> None:
        """End it."""

    @abstractmethod
    def roots(self) -> list[int]:
        """Its first processes; all that descend from them belong to it."""

    @abstractmethod
    def ask(self, model: str, row: Sequence[float]) -> bytes:
        """See `load.Talk`."""

    @abstractmethod
    def read(self, status: int, body: bytes) -> float | Later | None:
        """See `load.Talk`."""

    def accepting(self) -> Accepting | None:
        """How to post without waiting for predictions, where that is not how it is asked anyway."""
        return None

    def cpu_s(self) -> float:
        """CPU seconds of all its processes so far."""
        return processes.cpu_s(processes.tree(self.roots()))

    def check_listener(self) -> None:
        """See that who answers on the port is this system.

        Raises:
            RuntimeError: it is somebody else.
        """
        if not processes.listens(processes.tree(self.roots()), self.port):
            raise RuntimeError(f"{self.name}: port {self.port} is not served by a process of ours")


class Foreign(Peer):
    """A peer with an environment of its own, made from `foreign/KEY/requirements.txt` into a cache."""

    key: str
    folder: Path
    models: Path

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []

    @abstractmethod
    def commands(self) -> list[list[str]]:
        """What is started, in `foreign/KEY`; a program without a slash is one of the environment's."""

    def environment(self) -> dict[str, str]:
        """Further variables."""
        return {}

    def probe(self) -> bytes:
        """A request that is answered with 200 as soon as the peer works."""
        return self.ask("lr", (0.5, -0.5))

    def start(self, folder: Path, models: Path) -> None:
        """Install what is missing, start it, and wait until it predicts.

        Raises:
            NotInstalled: its packages cannot be had.
        """
        home = _installed(self.key)
        self.port, self.folder, self.models = free_port(), folder, models
        folder.mkdir(parents=True)
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        env = {**kept, **threads, "PATH": path, "BENCH_MODELS": str(models), "PYTHONDONTWRITEBYTECODE": "1"}
        env |= self.environment()
        for command in self.commands():
            program = command[0] if "/" in command[0] else str(home / "bin" / command[0])
            with (folder / "log").open("ab") as log:
                self._running.append(
                    subprocess.Popen([program, *command[1:]], cwd=FOREIGN / self.key, env=env, stdout=log, stderr=log)
                )
        try:
            until(self._works, START_S, f"{self.name} predicts")
        except (TimeoutError, RuntimeError) as fault:
            self.stop()
            raise RuntimeError(f"{fault}\n{(folder / 'log').read_text()[-2000:]}") from None
        self.check_listener()

    def _works(self) -> bool:
        if any(process.poll() is not None for process in self._running):
            raise RuntimeError(f"{self.name}: a process has ended")
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=20) as line:
                line.sendall(self.probe())
                return line.recv(65_536)[9:12] in (b"200", b"202")
        except OSError:  # it does not listen yet
            return False

    def stop(self) -> None:
        """SIGTERM in the reverse order, SIGKILL to what is left."""
        everything = processes.tree(self.roots())
        for process in reversed(self._running):
            process.terminate()
        for process in self._running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
        processes.kill(everything)
        for process in self._running:
            process.wait()
        self._running = []

    def roots(self) -> list[int]:
        """Its first processes."""
        return [process.pid for process in self._running]


def _installed(key: str) -> Path:
    """The peer's environment, made if its requirements are new.

    Raises:
        NotInstalled: with the installer's last words.
    """
    wanted, home = FOREIGN / key / "requirements.txt", CACHE / key
    done = home / "requirements.txt"
    if done.exists() and done.read_text() == wanted.read_text():
        return home
    for command in (
        [*UV, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)],
        [*UV, "pip", "install", "--quiet", "--python", str(home / "bin" / "python"), "--requirement", str(wanted)],
    ):
        ended = subprocess.run(command, env=uv_env(), capture_output=True, text=True, timeout=INSTALL_S, check=False)
        if ended.returncode:
            raise NotInstalled((ended.stderr.strip().splitlines() or ["no reason given"])[-1][:200])
    done.write_text(wanted.read_text())
    return home
