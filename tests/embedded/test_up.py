"""`python -m embedded up`, for real: it starts, mends itself, stops, and goes on where it stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from embedded.ports import free_port
from tests.architecture.law import ROOT

START_S = 90.0


class Stack:
    """A stack of the test's own, on free ports."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.port = free_port()
        self.output = folder / "output"
        kept = {name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "DATABASE_URL", "API_KEY"}}
        self.env = {
            **kept,
            "DATA_DIR": str(self.data),
            "API_PORT": str(self.port),
            "FLOWER_PORT": str(free_port()),
            "DASHBOARD_PORT": str(free_port()),
            "MLFLOW_PORT": str(free_port()),
            "CHECK_INTERVAL_SECONDS": "2",
            "WORKER_CONCURRENCY": "1",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.output.open("wb") as output:
            command = [sys.executable, "-m", "embedded", "up"]
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=output, stderr=output)
        until(
            lambda: "\nReady after" in self.said() or self.process is None or self.process.poll() is not None,
            START_S,
        )
        assert "\nReady after" in self.said(), self.said()

    def said(self) -> str:
        return self.output.read_text()

    def stop(self) -> int:
        """Ctrl-C; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)

    def get(self, path: str) -> dict[str, Any]:
        return dict(httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=self.key(), timeout=40).json())

    def key(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.data / 'api_key').read_text().strip()}"}

    def processes(self) -> list[str]:
        """Command lines of every process that has this stack's DATA_DIR in its environment."""
        mark = f"DATA_DIR={self.data}".encode()
        return [_text(p / "cmdline").decode() for p in Path("/proc").glob("[0-9]*") if mark in _text(p / "environ").split(b"\0")]


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended meanwhile, or is another user's
        return b""


def until(what: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("up"))
    made.start()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.send_signal(signal.SIGINT)
        time.sleep(1)
        made.stop()  # a second Ctrl-C waits for nobody


def predict(stack: Stack) -> dict[str, Any]:
    body = {"model": "default", "instances": [[0.5, 1.5]]}
    url = f"http://127.0.0.1:{stack.port}/predict"
    return dict(httpx.post(url, json=body, headers={**stack.key(), "Prefer": "wait=40"}, timeout=60).json())


def test_the_first_job_waits_for_the_first_model_and_succeeds(stack: Stack) -> None:
    """Nobody touched anything: the loop trained version 1 by itself."""
    job = predict(stack)
    assert job["status"] == "succeeded", job
    assert job["result"]["version"] == "1"


def test_it_says_what_runs_in_plain_lines(stack: Stack) -> None:
    """A ✓ with its seconds for each group, where to look, no escape code, and no secret."""
    said = stack.said()
    assert re.findall(r"(?m)^✓ (\w+) +\d+\.\d s", said)[:2] == ["broker", "database"]
    assert {"api", "workers"} <= set(re.findall(r"(?m)^✓ (\w+)", said))
    assert "\x1b" not in said
    assert (stack.data / "api_key").read_text().strip() not in said


def test_every_component_is_ok(stack: Stack) -> None:
    """GET /health, once the last of them has given its first sign of life."""
    until(lambda: stack.get("/health")["status"] == "ok", 30)
    assert {part["status"] for part in stack.get("/health")["components"].values()} == {"ok"}


def test_flower_shows_the_task_that_carried_a_job(stack: Stack) -> None:
    """By the job's `task_id`, from when Flower has asked workers to tell of their tasks."""
    user, _, password = (stack.data / "flower_auth").read_text().strip().partition(":")
    page = f"http://127.0.0.1:{stack.env['FLOWER_PORT']}/api/task/info/"

    def is_shown() -> bool:
        task = predict(stack)["task_id"]
        time.sleep(0.3)
        try:
            answer = httpx.get(f"{page}{task}", auth=(user, password))
        except httpx.ConnectError:  # it comes up last
            return False
        return answer.status_code == 200 and answer.json()["state"] == "SUCCESS"

    until(is_shown, 120)  # on a machine that is busy with other things it takes a minute to come up
    assert is_shown()


def test_the_state_is_its_owners_alone(stack: Stack) -> None:
    """No file under DATA_DIR can be read by group or others."""
    modes = {path: path.stat().st_mode & 0o077 for path in [stack.data, *stack.data.iterdir()]}
    assert {path: mode for path, mode in modes.items() if mode} == {}


def test_a_killed_worker_comes_back_and_works_on(stack: Stack) -> None:
    """kill -9 of the worker that predicts: one warning, and the next job succeeds."""
    os.kill(_pid(stack, ["workers", "predict"]), signal.SIGKILL)
    assert predict(stack)["status"] == "succeeded"
    until(lambda: "! predict ended (killed by SIGKILL)" in stack.said(), 10)


def test_a_killed_broker_comes_back_and_jobs_go_on(stack: Stack) -> None:
    """kill -9 of the broker by its pid file: the job posted right after it succeeds."""
    os.kill(int((stack.data / "broker" / "pid").read_text()), signal.SIGKILL)
    assert predict(stack)["status"] == "succeeded"


def test_a_second_stack_on_the_same_data_is_refused(stack: Stack) -> None:
    """One sentence with the pid of the first, exit status 1."""
    assert stack.process is not None
    command = [sys.executable, "-m", "embedded", "up"]
    done = subprocess.run(command, cwd=ROOT, env=stack.env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert f"(pid {stack.process.pid})" in done.stderr


def test_ctrl_c_stops_everything_and_the_next_start_goes_on(stack: Stack) -> None:
    """Within 20 s, exit status 0, no process left; afterwards the old job and the model are there."""
    job = predict(stack)
    began = time.monotonic()
    assert stack.stop() == 0
    assert time.monotonic() - began < 20
    assert stack.processes() == []
    stack.start()
    assert stack.get(f"/jobs/{job['id']}")["status"] == "succeeded"
    assert predict(stack)["status"] == "succeeded"


def _pid(stack: Stack, command: list[str]) -> int:
    for process in Path("/proc").glob("[0-9]*"):
        words = _text(process / "cmdline").decode().split("\0")
        if words[2:4] == command and f"DATA_DIR={stack.data}".encode() in _text(process / "environ"):
            return int(process.name)
    raise AssertionError(f"no process runs {command}")
