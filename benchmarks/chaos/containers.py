"""Fault p: the production shape in containers; `docker compose kill` of the workers and of redis under load."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx

from benchmarks.chaos.judge import OPEN, Row, judge
from benchmarks.chaos.load import Load
from benchmarks.chaos.servers import Missing
from benchmarks.stack import ROOT, until
from embedded.ports import free_port

PATIENCE_S = 90.0


def trial(jobs: int, rate: float, asked: bool) -> Row:
    """One trial in containers.

    Raises:
        Missing: it was not asked for, or COMPOSE_COMMAND names no Docker Compose.
    """
    command = os.environ.get("COMPOSE_COMMAND", "")
    if not asked or not command:
        raise Missing("containers: run with --compose and COMPOSE_COMMAND='docker compose'")
    with tempfile.TemporaryDirectory(prefix="chaos-p-") as folder:
        project = _Project(shlex.split(command), Path(folder))
        try:
            try:
                project.run("up", "-d", "--build", "--wait", "--scale", "worker=2")
            except RuntimeError as failed:
                raise RuntimeError(f"{failed}\n{project.run('logs', '--no-color', '--tail', '20', 'prepare')}") from None
            return project.play(jobs, rate)
        finally:
            project.run("down", "-v", "--timeout", "5")


class _Project:
    def __init__(self, command: list[str], folder: Path) -> None:
        port = free_port()
        self.env_file = folder / ".env"
        text = runpy.run_path(str(ROOT / ".ci" / "fresh_env.py"))["with_secrets"]((ROOT / ".env.example").read_text())
        own = {"API_PORT": port, "FLOWER_PORT": free_port(), "DASHBOARD_PORT": free_port(), "CHECK_INTERVAL_SECONDS": 5}
        for name, value in own.items():
            text = re.sub(rf"(?m)^#? ?{name}=.*$", f"{name}={value}", text)
        self.env_file.write_text(text)
        key = dict(re.findall(r"(?m)^([A-Z_]+)=(.*)$", text))["API_KEY"]
        name = f"continual-chaos-{os.getpid()}"
        self.command = [*command, "--ansi", "never", "-p", name, "--env-file", str(self.env_file)]
        headers = {"Authorization": f"Bearer {key}"}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30, trust_env=False)

    def run(self, *arguments: str) -> str:
        """One compose command; its output."""
        env = {**os.environ, "ENV_FILE": str(self.env_file)}
        done = subprocess.run([*self.command, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip()[-300:]}")
        return done.stdout

    def play(self, jobs: int, rate: float) -> Row:
        """Load, two kills, and what became of the jobs, as the API tells it."""
        row = Row("p", "ours", notes=["containers, PostgreSQL: the workers and redis killed"])
        until(lambda: self.client.get("/model-status").json().get("version"), 120, "a champion serves")
        load = Load(self.client, jobs, rate, 0)
        load.start()
        time.sleep(2.0)
        self.run("kill", "worker")  # every replica: compose names none of them
        time.sleep(2.0)
        self.run("kill", "redis")
        time.sleep(3.0)
        self.run("up", "-d", "--no-recreate", "--no-build", "--scale", "worker=2")
        ended = time.monotonic()
        load.join()
        self._wait_done(set(load.ids))
        row.done_s = time.monotonic() - ended
        judge(row, load.posted, self.client, self)
        return row

    def _wait_done(self, wanted: set[str]) -> None:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            listed = [self.client.get(f"/jobs?status={status}&limit=100").json()["jobs"] for status in OPEN]
            if not wanted & {job["id"] for jobs in listed for job in jobs}:
                return
            time.sleep(0.5)

    def model(self, version: str) -> tuple[Path, str] | None:
        """See `judge.Records`; the file is copied out of a container."""
        found = self._ask(f"SELECT artifact, sha256 FROM versions WHERE model = 'default' AND number = {int(version)}")
        if not found:
            return None
        artifact, sha256 = found[0].split("|")
        copy = self.env_file.with_name(f"{version}.skops")
        self.run("cp", f"api:/var/lib/continual/artifacts/{artifact}", str(copy))
        return copy, sha256

    def entries(self) -> Counter[str]:
        """See `judge.Records`."""
        return Counter(self._ask("SELECT job_id FROM predictions UNION ALL SELECT job_id FROM datasets"))

    def _ask(self, query: str) -> list[str]:
        psql = ("psql", "-U", "continual", "-d", "continual", "-tAc", query)
        return self.run("exec", "-T", "postgres", *psql).split()
