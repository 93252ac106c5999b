"""The parts of the stack, each started by hand, on a PostgreSQL, a broker and an MLflow of our own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from benchmarks import processes
from benchmarks.chaos.servers import MlflowServer, Postgres
from benchmarks.stack import ROOT, until
from embedded.broker import find_server
from embedded.ports import free_port

HERE = "127.0.0.1"
KEY, PASSWORD = "of-the-parts", "of-the-broker"


class Parts:
    """Processes by name, and the stores that they share. A context: at its end all of them are gone.

    Args:
        lease_s: JOB_LEASE_S.

    Attributes:
        folder: what they write; gone at the end.

    Raises:
        Missing: there are no PostgreSQL programs here.
    """

    def __init__(self, lease_s: float) -> None:
        self._temporary = TemporaryDirectory(prefix="parts-", ignore_cleanup_errors=True)
        self.folder, self._lease_s = Path(self._temporary.name), lease_s
        self.folder.chmod(0o711)  # PostgreSQL's own user has to get in
        self.data = self.folder / "data"
        self.data.mkdir(mode=0o700)
        self.port, self._broker_port = free_port(), free_port()
        self._postgres, self._mlflow = Postgres(self.folder / "postgres"), MlflowServer(self.folder / "mlflow")
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._after = ExitStack()

    def __enter__(self) -> Parts:
        self._after.callback(self._postgres.remove)
        self._after.callback(self._mlflow.remove)
        self._postgres.start()
        options = ["--port", str(self._broker_port), "--bind", HERE, "--requirepass", PASSWORD, "--save", ""]
        self.start("broker", find_server().path, *options)
        self._mlflow.start()
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._running):
            self.kill(name)
        self._after.close()
        self._temporary.cleanup()

    @property
    def servers(self) -> Sequence[int]:
        """The ports of the three stores."""
        return self._postgres.port, self._broker_port, self._mlflow.port

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger, from here."""
        return self._postgres.ledger_url

    def client(self) -> httpx.Client:
        """Someone with the key."""
        headers = {"Authorization": f"Bearer {KEY}"}
        return httpx.Client(base_url=f"http://{HERE}:{self.port}", headers=headers, timeout=30, trust_env=False)

    def prepare(self, tree: Path = ROOT) -> None:
        """Tables and store, as the release in `tree` wants them."""
        command = [sys.executable, "-m", "workers", "prepare"]
        subprocess.run(command, env=self._env(HERE), cwd=tree, check=True, capture_output=True)

    def start_python(self, name: str, *words: str, tree: Path = ROOT, host: str = HERE, before: Sequence[str] = ()) -> None:
        """`python -m words`, from the release in `tree`, with the stores at address `host`."""
        self.start(name, *before, sys.executable, "-m", *words, env=self._env(host), tree=tree)

    def start(self, name: str, *command: str, env: dict[str, str] | None = None, tree: Path = ROOT) -> None:
        """Any program; its output goes to `folder`/name.log."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(command, env=env, cwd=tree, stdout=log, stderr=log, start_new_session=True)

    def stop(self, name: str) -> None:
        """SIGTERM, as an orchestrator does it, and wait."""
        process = self._running.pop(name)
        process.terminate()
        process.wait(60)

    def kill(self, name: str) -> None:
        """kill -9 of it and its children."""
        process = self._running.pop(name)
        processes.kill(processes.tree([process.pid]))
        process.wait(10)

    def serves(self) -> bool:
        """Whether the API answers, with a champion."""
        try:
            with self.client() as client:
                return bool(client.get("/model-status").json().get("version"))
        except httpx.HTTPError:
            return False

    def until_served(self) -> None:
        """Wait for that."""
        until(self.serves, 180, "a champion serves")

    def _env(self, host: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        postgres, broker, mlflow = self.servers
        return {
            **kept,
            "DATA_DIR": str(self.data),
            "API_KEY": KEY,
            "API_PORT": str(self.port),
            "DATABASE_URL": f"postgresql://postgres@{host}:{postgres}/postgres",
            "REDIS_URL": f"redis://:{PASSWORD}@{host}:{broker}/0",
            "MLFLOW_TRACKING_URI": f"http://{host}:{mlflow}",
            "CHECK_INTERVAL_SECONDS": "2",
            "JOB_LEASE_S": f"{self._lease_s:g}",
            "OMP_NUM_THREADS": "1",
        }
