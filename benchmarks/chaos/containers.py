"""Fault p: the production shape in containers; `docker compose kill` of the workers and of redis under load."""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.chaos.judge import Row
from benchmarks.chaos.load import Load
from benchmarks.chaos.servers import Missing
from benchmarks.chaos.stack import ROOT, until
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
        key = secrets.token_urlsafe(24)
        lines = {
            "API_KEY": key, "API_PORT": str(port), "FLOWER_PORT": str(free_port()), "FLOWER_BASIC_AUTH": f"f:{key}",
            "POSTGRES_PASSWORD": key, "REDIS_PASSWORD": key, "CHECK_INTERVAL_SECONDS": "5",
        }  # fmt: skip
        self.env_file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
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
        row = Row(
            "p", "ours", notes=["containers, PostgreSQL: the workers and redis killed; recorded twice and answers not looked at"]
        )
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
        accepted = [each.job_id for each in load.posted if each.job_id]
        states = self._states(accepted)
        row.accepted, row.rejected = len(accepted), len(load.posted) - len(accepted)
        row.slowest_post_s = max(each.seconds for each in load.posted)
        row.lost = sum(state in ("queued", "running") for state, _ in states)
        row.false_failures = sum(state not in ("queued", "running", "succeeded") for state, _ in states)
        row.executed_twice = sum(attempt > 1 for _, attempt in states)
        row.done_s = time.monotonic() - ended
        return row

    def _states(self, ids: list[str]) -> list[tuple[str, int]]:
        end = time.monotonic() + PATIENCE_S
        while True:
            found = [self.client.get(f"/jobs/{job_id}").json() for job_id in ids]
            if time.monotonic() > end or all(job["status"] not in ("queued", "running") for job in found):
                return [(job["status"], job["attempt"]) for job in found]
            time.sleep(1.0)
