"""The compose project of the tests: a stack of its own name, ports and secrets."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import httpx

from embedded.ports import free_port
from tests.architecture.law import ROOT
from tests.fresh_env import load

SCALE = 3


class Project:
    """`docker compose` for one project name and one `.env`, and a client of its API."""

    def __init__(self, command: str, folder: Path) -> None:
        self.command = shlex.split(command)
        self.env_file = folder / ".env"
        port = free_port()
        fresh_env = load()
        example = (ROOT / ".env.example").read_text()
        text: str = fresh_env.with_secrets(example).replace("CHECK_INTERVAL_SECONDS=30", "CHECK_INTERVAL_SECONDS=5")
        ports = {name: free_port() for name in ("DASHBOARD_PORT", "FLOWER_PORT", "EDGE_HTTP_PORT", "EDGE_HTTPS_PORT")}
        https = {"COMPOSE_PROFILES": "edge", "EDGE_ADDRESS": "127.0.0.1", "PROXY_HOPS": 1, "API_BASE_URL": "https://localhost"}
        for name, chosen in {"API_PORT": port, **ports, **https, "WORKERS": SCALE}.items():
            text = re.sub(rf"(?m)^{name}=.*", f"{name}={chosen}", text)
        self.env_file.write_text(text)
        self.env_file.chmod(0o600)
        self.values = dict(re.findall(r"(?m)^([A-Z_]+)=(.*)$", self.env_file.read_text()))
        self.secrets = {name: self.values[name] for name in fresh_env.SECRETS}
        self.name = f"continual-test-{os.getpid()}"
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {self.values['API_KEY']}"},
            timeout=70.0,
            trust_env=False,
        )

    def __call__(self, *arguments: str, timeout_s: float = 60.0) -> str:
        """Run one compose command; its standard output. What it complains of is in the raised error.

        Raises:
            AssertionError: it ended with another status than 0.
        """
        return self.piped(*arguments, timeout_s=timeout_s).decode()

    def piped(self, *arguments: str, given: bytes = b"", timeout_s: float = 60.0) -> bytes:
        """The same with bytes in, as from `< FILE`, and bytes out."""
        options = ["--ansi", "never", "-p", self.name, "--env-file", str(self.env_file)]
        env = {name: value for name, value in os.environ.items() if name not in self.values}
        done = subprocess.run(
            [*self.command, *options, *arguments], cwd=ROOT, env={**env, "ENV_FILE": str(self.env_file)},
            input=given, capture_output=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        said = (done.stderr[-3000:] + done.stdout[-1000:]).decode(errors="replace")
        assert done.returncode == 0, f"{' '.join(arguments)}: {said}"
        return done.stdout

    def up(self) -> None:
        """Build, start, and wait until every healthcheck holds."""
        self._up("--build")

    def up_again(self) -> None:
        """Start what jobs need, of what is built; all of it takes a minute on two cores."""
        self._up("--scale", "worker=1", "api", "worker", "sweeper")

    def _up(self, *arguments: str) -> None:
        self("up", "-d", "--wait", "--wait-timeout", "300", *arguments, timeout_s=420)

    def containers(self) -> list[dict[str, Any]]:
        """The running containers, as `compose ps` describes them."""
        return [json.loads(line) for line in self("ps", "--format", "json").splitlines()]

    def healthy(self, service: str) -> int:
        """How many containers of a service are healthy."""
        return sum(each["Service"] == service and each["Health"] == "healthy" for each in self.containers())

    def sql(self, query: str) -> list[str]:
        """The first column of a query of the ledger's database."""
        done = self("exec", "-T", "postgres", "psql", "-At", "-U", "continual", "-d", "continual", "-c", query)
        return done.splitlines()

    def predict(self, count: int) -> list[str]:
        """Post this many jobs of one row each; their ids, each with a 202 behind it."""
        ids = []
        for number in range(count):
            row = [[number / count, -0.5]]
            posted = self.client.post("/predict", json={"model": "default", "instances": row})
            assert posted.status_code == 202, posted.text
            ids.append(str(posted.json()["id"]))
        return ids

    def statuses(self, ids: list[str]) -> set[str]:
        """How these jobs ended, each waited for up to a minute."""
        return {self.client.get(f"/jobs/{job}", params={"wait": 60}).json()["status"] for job in ids}
