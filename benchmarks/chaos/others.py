"""More faults: what else may happen to a stack in service."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

from benchmarks import processes
from benchmarks.chaos.faults import Fault, Scene, api_killed, broker_killed, disk_full
from benchmarks.chaos.servers import Missing
from benchmarks.stack import until


def sweeper_frozen(scene: Scene) -> None:
    """Nobody rings again and nobody takes back, while the broker forgets everything and the workers are killed."""
    frozen = scene.stack.mains("sweeper")
    processes.kill(frozen, signal.SIGSTOP)
    broker = scene.stack.broker()
    for _ in range(8):
        broker.delete(*(broker.keys("*") or ["none"]))
        time.sleep(5.0)
    processes.kill(scene.stack.mains("predict", "general"))
    processes.kill(frozen, signal.SIGCONT)


def helpers_killed(scene: Scene) -> None:
    """Whoever carries no jobs: sweeper, beat, Flower and MLflow's page, five times each."""
    for _ in range(5):
        processes.kill(scene.stack.mains("sweeper", "beat", "celery", "mlflow"))
        time.sleep(3.0)


def stopped_and_started(scene: Scene) -> None:
    """SIGTERM to the stack under load, and up again, twice."""
    for _ in range(2):
        scene.stack.stop(signal.SIGTERM)
        scene.stack.start()
        time.sleep(2.0)


def postgres_restarted(scene: Scene) -> None:
    """The server ends every connection and comes back at once, five times."""
    if scene.postgres is None:
        raise Missing("the ledger is not on a PostgreSQL of our own: run with --postgres")
    for _ in range(5):
        scene.postgres.restart()
        time.sleep(3.0)


def broker_emptied(scene: Scene) -> None:
    """The broker starts on an empty folder, with a large job under way."""
    scene.predict_many(1_000_000)
    scene.stack.broker().config_set("appendonly", "no")
    processes.kill([scene.stack.broker_pid()])
    shutil.rmtree(scene.stack.data / "broker" / "appendonlydir", ignore_errors=True)
    broker_killed(scene)


def broker_damaged(scene: Scene) -> None:
    """The broker is killed and finds its append-only log damaged."""
    processes.kill([scene.stack.broker_pid()])
    for log in (scene.stack.data / "broker" / "appendonlydir").glob("*.aof"):
        log.write_bytes(b"garbage" + log.read_bytes()[7:])


def disk_full_of_an_answer(scene: Scene) -> None:
    """The disk fills up while a large answer is written."""
    scene.predict_many(2_000_000)
    disk_full(scene)


def claims_killed(scene: Scene) -> None:
    """Workers are killed at the very moment at which they hold jobs, as often as it comes to that in 20 s."""
    end = time.monotonic() + 20.0
    while time.monotonic() < end:
        until(lambda: scene.running() or time.monotonic() > end, 30, "a job runs")
        processes.kill(scene.stack.mains("predict", "general"))
        time.sleep(1.0)


def store_moved(scene: Scene) -> None:
    """The embedded MLflow's folder is gone for 15 s while a model trains."""
    scene.train("slow1")
    scene.work_s += 60.0
    until(lambda: scene.training("slow1"), 60, "a training runs")
    store = scene.stack.data / "mlflow"
    away = store.rename(scene.stack.folder / "mlflow-away")
    time.sleep(25.0)
    shutil.rmtree(store, ignore_errors=True)
    Path(away).rename(store)


OTHERS = {
    fault.key: fault
    for fault in (
        Fault("s", "sweeper SIGSTOP 40 s, broker wiped ×8, then the workers killed", sweeper_frozen),
        Fault("t", "SIGTERM of the stack under load and start, twice", stopped_and_started),
        Fault("u", "PostgreSQL restarted ×5", postgres_restarted, "postgres"),
        Fault("v", "disk full for 10 s while 2,000,000 rows are answered", disk_full_of_an_answer, "tmpfs"),
        Fault("l2", "API kill -9 ×4, every client waits and repeats with its Idempotency-Key", api_killed, stubborn=True),
        Fault("w", "broker on an empty folder while 1,000,000 rows are answered", broker_emptied, broker=True),
        Fault("x", "sweeper, beat, Flower and MLflow kill -9 ×5", helpers_killed),
        Fault("y", "workers kill -9 whenever they hold a job, for 20 s", claims_killed),
        Fault("z1", "broker kill -9, its append-only log damaged", broker_damaged, broker=True),
        Fault("z2", "MLflow's folder away for 25 s during a training", store_moved, trains=True),
    )
}
