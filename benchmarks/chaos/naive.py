"""Plain Celery with default settings in the same faults: a task, a Redis, a result backend, a prefork worker."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from multiprocessing import get_context
from pathlib import Path

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from benchmarks import processes
from benchmarks.chaos.judge import Row
from benchmarks.stack import ROOT, until
from embedded.broker import find_server
from embedded.ports import free_port

FAULTS = ("a", "b3", "b12", "d1", "d2", "e")
QUIET_S = 30.0  # nothing more has ended for so long: the rest is lost
app = Celery("naive", broker=os.environ.get("NAIVE_REDIS", ""), backend=os.environ.get("NAIVE_REDIS", ""))


@app.task(name="naive.add")
def add(number: int, notes: str) -> int:
    """Twenty milliseconds of work that leaves a line each time it is done."""
    time.sleep(0.02)
    with Path(notes).open("a") as file:
        file.write(f"{number}\n")
    return number + 1


class Naive:
    """One broker and one worker, each started again at once when it dies, as a service manager would."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.append_only = True
        self.broker = self._start_broker()
        until(self._answers, 10, "the broker answers")
        self.worker = self._start_worker()

    def _start_broker(self) -> subprocess.Popen[bytes]:
        keep = ["--appendonly", "yes" if self.append_only else "no", "--save", "", "--dir", str(self.folder)]
        command = [find_server().path, "--port", str(self.port), "--bind", "127.0.0.1", *keep]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def _answers(self) -> bool:
        with suppress(redis.RedisError):
            return bool(redis.Redis(port=self.port).ping())
        return False

    def _start_worker(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "celery", "-A", "benchmarks.chaos.naive", "worker", "-c", "3", "-l", "ERROR"]
        env = {**os.environ, "NAIVE_REDIS": self.url, "DATA_DIR": str(self.folder)}
        log = (self.folder / "worker.log").open("ab")
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)

    def kill_child(self, chance: random.Random) -> None:
        children = [each.pid for each in processes.of_stack(self.folder) if each.parent == self.worker.pid]
        processes.kill([chance.choice(children)] if children else [])

    def kill_tree(self) -> None:
        os.killpg(self.worker.pid, signal.SIGKILL)
        self.worker.wait(10)
        self.worker = self._start_worker()

    def kill_broker(self) -> None:
        self.broker.kill()
        self.broker.wait(10)
        time.sleep(3.0)
        self.broker = self._start_broker()

    def stop(self) -> None:
        os.killpg(self.worker.pid, signal.SIGKILL)
        self.worker.wait(10)
        self.broker.kill()
        self.broker.wait(10)


def trial(key: str, jobs: int, rate: float, seed: int) -> Row:
    """The same load and fault on plain Celery.

    In a process of its own: of a result whose broker is gone Celery's client tries twenty seconds long to be rid, in whatever
    thread Python clears it away, and that was one of those who measure our POSTs.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(_trial, key, jobs, rate, seed).result()


def _trial(key: str, jobs: int, rate: float, seed: int) -> Row:
    row = Row(key, "plain Celery")
    folder = Path(tempfile.mkdtemp(prefix=f"naive-{key}-"))
    with ExitStack() as after:
        after.callback(shutil.rmtree, folder, ignore_errors=True)
        naive = Naive(folder)
        after.callback(naive.stop)
        client = Celery("client", broker=naive.url, backend=naive.url, set_as_current=False)
        until(lambda: client.control.ping(timeout=1.0), 60, "plain Celery's worker answers")
        sent = _send(client, naive, key, jobs, rate, random.Random(seed), row)
        _count(client, sent, folder, row)
    return row


def _send(client: Celery, naive: Naive, key: str, jobs: int, rate: float, chance: random.Random, row: Row) -> list[str]:
    began, sent = time.monotonic(), list[str]()
    strikes = {"a": 5, "b3": 3, "b12": 12}.get(key, 1)
    apart = 4.0 if key in ("b3", "b12") else 2.0  # a worker needs a few seconds to start: kill one that works
    due = [began + 2.0 + apart * n for n in range(strikes)]
    naive.append_only = key != "d2"
    for n in range(jobs):
        time.sleep(max(0.0, began + n / rate - time.monotonic()))
        if due and time.monotonic() >= due[0]:
            due.pop(0)
            _strike(naive, key, chance)
        at = time.monotonic()
        try:
            sent.append(client.send_task("naive.add", args=[n, str(naive.folder / "notes")]).id)
            row.accepted += 1
        except (OperationalError, redis.RedisError):
            row.rejected += 1
        row.slowest_post_s = max(row.slowest_post_s, time.monotonic() - at)
    for _ in due:
        _strike(naive, key, chance)
        time.sleep(apart)
    return sent


def _strike(naive: Naive, key: str, chance: random.Random) -> None:
    if key == "a":
        naive.kill_child(chance)
    elif key in ("b3", "b12"):
        naive.kill_tree()
    elif key in ("d1", "d2"):
        if key == "d2":
            redis.Redis(port=naive.port).config_set("appendonly", "no")
            shutil.rmtree(naive.folder / "appendonlydir", ignore_errors=True)
        naive.kill_broker()
    else:
        redis.Redis(port=naive.port).flushall()


def _count(client: Celery, sent: list[str], folder: Path, row: Row) -> None:
    states: dict[str, str] = {}
    began = last = time.monotonic()
    while len(states) < len(sent) and time.monotonic() - last < QUIET_S:
        for task_id in [each for each in sent if each not in states]:
            state = client.backend.get_task_meta(task_id)["status"]
            if state in ("SUCCESS", "FAILURE"):
                states[task_id], last = state, time.monotonic()
        time.sleep(0.5)
    row.lost = len(sent) - len(states)
    row.false_failures = sum(state == "FAILURE" for state in states.values())
    done = (folder / "notes").read_text().split() if (folder / "notes").exists() else []
    row.executed_twice = len(done) - len(set(done))
    row.done_s = last - began
    row.notes.append(f"default settings; nothing more ended for {QUIET_S:.0f} s" if row.lost else "default settings")
