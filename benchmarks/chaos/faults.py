"""The faults. Each is a function that does its harm to a stack under load and returns when the harm is over."""

from __future__ import annotations

import errno
import json
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import processes
from benchmarks.chaos.bulk import Bulk
from benchmarks.chaos.load import training_rows, upload
from benchmarks.chaos.servers import Missing, MlflowServer, Postgres
from benchmarks.stack import ROOT, Stack, until
from jobs.kinds import QUEUES
from jobs.messages import Heard, celery_message

WORKERS = ("predict", "general", "quarantine")
SLOW = ("slow1", "slow2", "slow3")


@dataclass
class Scene:
    """Where a fault happens.

    `expected` maps models to how the first training of each must end; `bulk` are large jobs that must succeed; `work_s` is
    what the work itself takes beyond the recovery, seconds.
    """

    stack: Stack
    lease_s: float
    chance: random.Random
    postgres: Postgres | None = None
    mlflow: MlflowServer | None = None
    expected: dict[str, str] = field(default_factory=dict)
    work_s: float = 10.0
    bulk: list[Bulk] = field(default_factory=list)

    @property
    def aside(self) -> Path:
        """Where a fault puts artifacts that it takes away: the judge needs those that have answered."""
        return self.stack.folder / "aside"

    def predict_many(self, count: int) -> None:
        """Post a prediction of so many rows; it is judged at the end."""
        with self.stack.client() as client:
            self.bulk.append(Bulk.post(client, count, len(self.bulk)))

    def running(self) -> bool:
        """Whether a worker holds a job."""
        with self.stack.client() as client:
            return bool(client.get("/jobs?status=running&limit=1").json()["jobs"])

    def train(self, *models: str, ends: str = "succeeded") -> None:
        """Give models their first rows: the loop trains them by itself."""
        with self.stack.client() as client:
            for model in models:
                upload(client, model, training_rows()).raise_for_status()
                self.expected[model] = ends

    def training(self, *models: str) -> bool:
        """Whether all these models are being trained."""
        with self.stack.client() as client:
            found = client.get("/jobs?kind=train&status=running&limit=100").json()["jobs"]
        return set(models) <= {job["model"] for job in found}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: its letter, what it is, what it needs (postgres, mlflow, tmpfs), and settings of the stack it runs on.

    `broker`: only the broker is hurt, so every POST must be answered as quickly as ever. `stubborn`: see `Load`.
    `trains`: it needs models that have never been trained.
    """

    key: str
    title: str
    strike: Callable[[Scene], None]
    needs: str = ""
    settings: tuple[tuple[str, str], ...] = ()
    broker: bool = False
    stubborn: bool = False
    trains: bool = False


def kill_children(scene: Scene) -> None:
    for _ in range(5):
        children = scene.stack.children("general", "quarantine")
        processes.kill([scene.chance.choice(children)] if children else [])
        time.sleep(1.0)


def _kill_trees(scene: Scene, times: int) -> None:
    for _ in range(times):
        until(lambda: scene.stack.mains("predict", "general"), 30, "a worker to kill")
        processes.kill(each.pid for each in scene.stack.processes(*WORKERS))
        time.sleep(2.0)


def kill_tree_3(scene: Scene) -> None:
    _kill_trees(scene, 3)


def kill_tree_12(scene: Scene) -> None:
    _kill_trees(scene, 12)


def stop_trainings(scene: Scene) -> None:
    scene.train(*SLOW)
    scene.work_s += 45.0
    until(lambda: scene.training(*SLOW), 60, "three trainings run")
    told = scene.stack.mains(*WORKERS)
    processes.kill(told, signal.SIGTERM)
    time.sleep(10.0)
    processes.kill(pid for pid in told if Path(f"/proc/{pid}").exists())


def broker_killed(scene: Scene) -> None:
    end = time.monotonic() + 3.0
    while time.monotonic() < end:
        processes.kill([pid for pid in [scene.stack.broker_pid()] if pid])
        time.sleep(0.1)


def broker_forgets(scene: Scene) -> None:
    scene.stack.broker().config_set("appendonly", "no")
    processes.kill([scene.stack.broker_pid()])
    shutil.rmtree(scene.stack.data / "broker" / "appendonlydir", ignore_errors=True)
    broker_killed(scene)


def flush(scene: Scene) -> None:
    """FLUSHALL is renamed away in the embedded broker; deleting every key comes to the same."""
    broker = scene.stack.broker()
    broker.delete(*(broker.keys("*") or ["none"]))


def _freeze_broker(scene: Scene, seconds: float) -> None:
    pid = scene.stack.broker_pid()
    processes.kill([pid], signal.SIGSTOP)
    time.sleep(seconds)
    processes.kill([pid], signal.SIGCONT)


def broker_frozen(scene: Scene) -> None:
    _freeze_broker(scene, 10.0)


def broker_stutters(scene: Scene) -> None:
    for _ in range(8):
        _freeze_broker(scene, 5.0)
        time.sleep(1.0)


def beats(scene: Scene) -> None:
    """Beat killed; then two beats on one schedule; then the file is gone."""
    processes.kill(scene.stack.mains("beat"))
    second = [sys.executable, "-m", "workers", "beat"]
    env = {**scene.stack.env, "REDIS_URL": _redis_url(scene.stack)}
    with (scene.stack.folder / "second-beat").open("ab") as log:
        twin = subprocess.Popen(second, cwd=ROOT, env=env, stdout=log, stderr=log)
    time.sleep(8.0)
    for file in (scene.stack.data / "beat").glob("schedule*"):
        file.unlink(missing_ok=True)
    processes.kill(scene.stack.mains("beat"))
    twin.wait(10)
    time.sleep(3.0)


def _redis_url(stack: Stack) -> str:
    given = stack.broker().connection_pool.connection_kwargs
    return f"redis://:{given['password']}@127.0.0.1:{given['port']}/0"


def poison(scene: Scene) -> None:
    """Four models whose training crashes its process, kills its worker, eats all memory, never returns."""
    scene.train("segfault", "killer", "forever", ends="dead")
    scene.train("hungry", ends="failed")
    scene.work_s += 4 * 3 * (scene.lease_s + 25.0)


def broker_full(scene: Scene) -> None:
    broker = scene.stack.broker()
    before = broker.config_get("maxmemory")["maxmemory"]
    broker.config_set("maxmemory", "1mb")
    time.sleep(8.0)
    broker.config_set("maxmemory", str(before))


def postgres_killed(scene: Scene) -> None:
    if scene.postgres is None:
        raise Missing("the ledger is not on a PostgreSQL of our own: run with --postgres")
    scene.postgres.kill()
    time.sleep(3.0)
    scene.postgres.start()


def worker_frozen(scene: Scene) -> None:
    """A worker that predicts and one that trains sleep through their leases, wake, and finish what is no longer theirs."""
    scene.train("slow1")
    scene.work_s += 45.0
    until(lambda: scene.training("slow1"), 60, "a training runs")
    frozen = [each.pid for each in scene.stack.processes("predict", "general")]
    processes.kill(frozen, signal.SIGSTOP)
    time.sleep(scene.lease_s + 8.0)
    processes.kill(frozen, signal.SIGCONT)


def api_killed(scene: Scene) -> None:
    for _ in range(4):
        time.sleep(scene.chance.uniform(0.5, 2.0))
        processes.kill(each.pid for each in scene.stack.processes("api"))


def registry_away(scene: Scene) -> None:
    """MLflow is gone while one model trains and while the worker that predicts loads the champion, whose file is gone too."""
    if scene.mlflow is None:
        raise Missing("no MLflow server of our own")
    scene.train("slow1")
    scene.work_s += 60.0
    until(lambda: scene.training("slow1"), 60, "a training runs")
    aside = scene.aside / "models" / "default"
    aside.mkdir(parents=True)
    for file in (scene.stack.data / "artifacts" / "models" / "default").glob("*.skops"):
        shutil.move(file, aside)
    scene.mlflow.kill()
    processes.kill(scene.stack.mains("predict"))
    time.sleep(20.0)
    scene.mlflow.start()


def disk_full(scene: Scene) -> None:
    """Every byte that is left is taken for ten seconds; there may be none, where the stack itself was quicker."""
    filler = scene.stack.data / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
    except OSError as full:
        if full.errno != errno.ENOSPC:
            raise
    time.sleep(10.0)
    filler.unlink(missing_ok=True)


def power_cut(scene: Scene) -> None:
    for _ in range(2):
        scene.stack.kill_all()
        scene.stack.start()


JUNK = (b"\x00\xff", b"{}", b"[]", b"null", b'{"body": "W10=", "headers": {"task": "predict", "id": "1"}, "properties": {}}')


def junk(scene: Scene) -> None:
    """What is no doorbell is pushed into every queue, again and again."""
    broker = scene.stack.broker()
    for _ in range(10):
        for name in QUEUES:
            forged = celery_message(Heard("predict", str(uuid.uuid4()), (str(uuid.uuid4()),), None), name)
            broker.lpush(name, *JUNK, json.dumps(forged | {"properties": {"delivery_tag": []}}))
        time.sleep(0.5)


@contextmanager
def tmpfs(folder: Path, megabytes: int) -> Iterator[None]:
    """A small disk of its own under `folder`.

    Raises:
        Missing: this process may not mount.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = f"size={megabytes}m,mode=700"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True, check=False)
    if done.returncode:
        raise Missing("mounting a small tmpfs is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


FAULTS = {
    fault.key: fault
    for fault in (
        Fault("none", "no fault", lambda _: None),
        Fault("a", "kill -9 of a pool child ×5", kill_children),
        Fault("b3", "kill -9 of the worker trees ×3", kill_tree_3),
        Fault("b12", "kill -9 of the worker trees ×12", kill_tree_12),
        Fault("c", "SIGTERM, 10 s, SIGKILL; three 20 s trainings run", stop_trainings, trains=True),
        Fault("d1", "broker kill -9 for 3 s, append-only file kept", broker_killed, broker=True),
        Fault("d2", "broker kill -9 for 3 s, its memory lost", broker_forgets, broker=True),
        Fault("e", "every key of the broker deleted (FLUSHALL)", flush, broker=True),
        Fault("f1", "broker SIGSTOP 10 s", broker_frozen, broker=True),
        Fault("f2", "broker SIGSTOP 8 × 5 s", broker_stutters, broker=True),
        Fault("g", "beat killed, two beats, schedule file gone", beats),
        Fault("h", "trainings that segfault, kill the worker, eat memory, never return", poison, "", (("JOB_LIMIT_S", "15"),)),
        Fault("i", "broker full for 8 s", broker_full, broker=True),
        Fault("j", "PostgreSQL kill -9 for 3 s", postgres_killed, "postgres"),
        Fault("k", "workers SIGSTOP beyond their lease, then CONT", worker_frozen, trains=True),
        Fault("l", "API kill -9 ×4 between accept and ring", api_killed),
        Fault("m", "MLflow away during a training and a model load", registry_away, "mlflow"),
        Fault("n", "disk full for 10 s", disk_full, "tmpfs"),
        Fault("q", "kill -9 of everything at once, twice", power_cut),
        Fault("r", "junk and forged messages in every queue for 5 s", junk, broker=True),
    )
}
