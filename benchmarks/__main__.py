"""`make bench`: one-row predictions through our stack and through plain Flask + Celery, in interleaved rounds of one run.

Both stand behind HTTP on ports of their own with the same kind of model. Ours does all it does in production: token, validation,
ledger with synchronous=FULL, prediction log. The ratio is what counts; absolute figures are this machine's, at this load.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.chaos.stack import ROOT, Stack, until
from embedded.broker import find_server
from embedded.ports import free_port

ROUNDS, ROUND_S = 3, 6.0
CLIENTS = (1, 32)
BODY = json.dumps({"instances": [[0.5, -0.25]]}).encode()
Ask = Callable[[http.client.HTTPConnection], None]


def main() -> int:
    """Start both, measure in turn, print the table."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, _ours(Path(folder)) as ours, _naive(Path(folder)) as naive:
        peers = {"continual ml": ours, "plain Celery": naive}
        figures: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
        for _ in range(ROUNDS):
            for clients in CLIENTS:
                for name, (port, ask) in peers.items():
                    figures.setdefault((name, clients), []).append(_round(port, ask, clients))
    _print(figures)
    return 0


@contextmanager
def _ours(folder: Path) -> Iterator[tuple[int, Ask]]:
    stack = Stack(folder / "ours")
    stack.start()
    headers = {"Authorization": f"Bearer {(stack.data / 'api_key').read_text().strip()}", "Prefer": "wait=30"}
    headers["Content-Type"] = "application/json"

    def ask(line: http.client.HTTPConnection) -> None:
        line.request("POST", "/predict", BODY, headers)
        answer = json.loads(line.getresponse().read())
        if answer["status"] != "succeeded":
            raise RuntimeError(f"a job is {answer['status']}")

    try:
        ask(http.client.HTTPConnection("127.0.0.1", stack.port, timeout=90))  # it waits for the first model
        yield stack.port, ask
    finally:
        stack.stop()


@contextmanager
def _naive(folder: Path) -> Iterator[tuple[int, Ask]]:
    broker, port = free_port(), free_port()
    env = {**os.environ, "NAIVE_REDIS": f"redis://127.0.0.1:{broker}/0", "OMP_NUM_THREADS": "1"}
    python = [sys.executable, "-m"]
    commands = [
        [find_server().path, "--port", str(broker), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        [*python, "celery", "-A", "benchmarks.naive_server.celery", "worker", "-c", "2", "-l", "ERROR"],
        [*python, "gunicorn", "-b", f"127.0.0.1:{port}", "-k", "gthread", "--threads", "64", "benchmarks.naive_server:app"],
    ]
    running = [
        subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands
    ]

    def ask(line: http.client.HTTPConnection) -> None:
        line.request("POST", "/predict", BODY, {"Content-Type": "application/json"})
        task_id = json.loads(line.getresponse().read())["id"]
        while True:
            line.request("GET", f"/predict/{task_id}")
            if json.loads(line.getresponse().read())["state"] == "SUCCESS":
                return
            time.sleep(0.002)

    def answers() -> bool:
        with suppress(OSError, http.client.HTTPException, KeyError, ValueError):
            ask(http.client.HTTPConnection("127.0.0.1", port, timeout=20))
            return True
        return False

    try:
        until(answers, 60, "plain Celery answers")
        yield port, ask
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait(20)


def _round(port: int, ask: Ask, clients: int) -> tuple[float, float, float]:
    """Predictions a second, and the median and 99th percentile of their latency in ms."""
    taken: list[float] = []
    end = time.monotonic() + ROUND_S

    def run() -> None:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.monotonic() < end:
            began = time.perf_counter()
            ask(line)
            taken.append(time.perf_counter() - began)

    threads = [threading.Thread(target=run) for _ in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken.sort()
    return len(taken) / (time.monotonic() - began), 1e3 * taken[len(taken) // 2], 1e3 * taken[int(len(taken) * 0.99)]


def _print(figures: dict[tuple[str, int], list[tuple[float, float, float]]]) -> None:
    print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; medians of {ROUNDS} rounds of {ROUND_S:g} s\n")
    print("| system | clients | predictions/s | × plain Celery | p50, ms | p99, ms |\n|---|---|---|---|---|---|")
    for (name, clients), rounds in figures.items():
        rate, p50, p99 = (statistics.median(column) for column in zip(*rounds, strict=True))
        base = statistics.median(each[0] for each in figures["plain Celery", clients])
        print(f"| {name} | {clients} | {rate:.0f} | {rate / base:.1f} | {p50:.1f} | {p99:.1f} |")


if __name__ == "__main__":
    sys.exit(main())
