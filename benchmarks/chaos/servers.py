"""Servers that some faults need beside the stack: a PostgreSQL to kill, an MLflow to take away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from benchmarks import processes
from benchmarks.stack import ROOT, until
from embedded.ports import free_port


class Missing(RuntimeError):
    """What a fault needs is not on this machine; the text says what."""


class Postgres:
    """A PostgreSQL server of our own in `folder`; as root it runs as the user `postgres`.

    Args:
        settings: of the server, name and value, beside its own.

    Raises:
        Missing: there are no PostgreSQL programs here.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if not found and not shutil.which("initdb"):
            raise Missing("no PostgreSQL programs (initdb, postgres)")
        self._bin = found[-1].parent if found else Path(str(shutil.which("initdb"))).resolve().parent
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as:
            shutil.chown(folder, "postgres")
        self._run("initdb", "-D", str(folder / "db"), "-U", "postgres", "-A", "trust", "--no-sync")
        self._settings = {"max_connections": "200", **settings}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """DATABASE_URL of its database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def ledger_url(self) -> str:
        """The same as SQLAlchemy wants it."""
        return self.url.replace("postgresql://", "postgresql+psycopg://")

    @property
    def pid(self) -> int:
        """The server's first process; as root that is the child of what was started."""
        file = self.folder / "db" / "postmaster.pid"
        return int(file.read_text().split()[0]) if file.exists() else 0

    def start(self) -> None:
        """Start it and wait until it takes connections; after a kill it recovers first."""
        options = ["-D", str(self.folder / "db"), "-p", str(self.port), "-k", str(self.folder), "-h", "127.0.0.1"]
        options += [each for name, value in self._settings.items() for each in ("-c", f"{name}={value}")]
        command = [*self._as, str(self._bin / "postgres"), *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        ask = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        until(lambda: subprocess.run(ask, check=False).returncode == 0, 30, "PostgreSQL answers")

    def kill(self) -> None:
        """kill -9 of the server, whose children end with it."""
        pid = self.pid
        processes.kill([pid] if pid else [])
        if self._process is not None:
            self._process.wait(10)
        (self.folder / "db" / "postmaster.pid").unlink(missing_ok=True)
        time.sleep(0.3)  # its children notice that it is gone, and let the shared memory go

    def restart(self) -> None:
        """End every connection and start anew, as after a change of its settings."""
        if self._process is not None:
            processes.kill([self.pid], signal.SIGINT)
            self._process.wait(30)
        self.start()

    def remove(self) -> None:
        """Stop it, and delete what it holds."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._bin / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")


class MlflowServer:
    """An MLflow server of our own on a store in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """MLFLOW_TRACKING_URI."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        store = f"sqlite:///{self.folder / 'mlflow.db'}"
        command = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--workers", "1",
            "--artifacts-destination", str(self.folder / "artifacts"), "--host", "127.0.0.1", "--port", str(self.port),
        ]  # fmt: skip
        env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)
        until(self._answers, 90, "MLflow answers")

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=1, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """kill -9 of it and its workers."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)

    def remove(self) -> None:
        """Stop it, and delete its store."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
