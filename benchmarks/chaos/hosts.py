"""`python -m benchmarks.chaos.hosts`: two hosts, played by two network namespaces, and the wire between them.

On one: PostgreSQL, broker, MLflow, the API, a sweeper and a beat. On the other: the workers, a sweeper and a beat. While
jobs run the wire is cut for longer than a lease, then made slow, then healed, and the first host's sweeper and beat die.
Exit 1 if a job was lost, failed or was recorded twice, or if nobody had taken over within 30 s. Needs root, `ip` and
PostgreSQL's programs.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx

from benchmarks import processes
from benchmarks.chaos import table
from benchmarks.chaos.judge import Row, judge, records_of, wait_done
from benchmarks.chaos.load import Load
from benchmarks.chaos.servers import Missing, MlflowServer, Postgres
from benchmarks.stack import ROOT, until
from embedded.broker import find_server
from embedded.ports import free_port

NEAR, FAR = "10.77.9.1", "10.77.9.2"
JOBS, RATE, LEASE_S = 2_400, 60.0, 10.0
CUT_S, SLOW_S, DELAY_S = 15.0, 10.0, 0.2
TAKEN_OVER_S = 30.0
KEY, PASSWORD = "of-the-two-hosts", "of-the-broker"


class Wire:
    """The second host, and what carries its words to the servers of the first: each relayed at the wire's own speed.

    A context: a network namespace with one cable to here.
    """

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._name = f"continual-{os.getpid()}"
        self._near, self._far = f"cn{os.getpid() % 10_000}", f"cf{os.getpid() % 10_000}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire", daemon=True)

    def __enter__(self) -> Wire:
        try:
            self._ip("netns", "add", self._name)
        except (OSError, subprocess.CalledProcessError) as fault:
            raise Missing(f"a network namespace cannot be made here ({type(fault).__name__})") from fault
        self._ip("link", "add", self._near, "type", "veth", "peer", "name", self._far)
        self._ip("link", "set", self._far, "netns", self._name)
        self._ip("addr", "add", f"{NEAR}/24", "dev", self._near)
        self._ip("-n", self._name, "addr", "add", f"{FAR}/24", "dev", self._far)
        for command in (("-n", self._name, "link", "set", "lo", "up"), ("-n", self._name, "link", "set", self._far, "up")):
            self._ip(*command)
        self.join()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._ip("netns", "del", self._name)

    def cut(self) -> None:
        """Nothing arrives any more, in either direction, and nobody is told."""
        self._ip("link", "set", self._near, "down")

    def join(self) -> None:
        """As before."""
        self._ip("link", "set", self._near, "up")

    def over_there(self, *command: str) -> list[str]:
        """The command, on the second host."""
        return ["ip", "netns", "exec", self._name, *command]

    def relay(self, port: int) -> None:
        """Let the second host reach a server of this one, on the same port."""
        asyncio.run_coroutine_threadsafe(
            asyncio.start_server(lambda r, w: self._carry(r, w, port), NEAR, port), self._loop
        ).result(10)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # one end is gone: so is the other, in a moment
        finally:
            writer.close()

    def _ip(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)


class Hosts:
    """The processes on both. A context: at its end they are gone."""

    def __init__(self, folder: Path, wire: Wire) -> None:
        self.folder, self.wire, self.data = folder, wire, folder / "data"
        self.data.mkdir(mode=0o700)
        self.port = free_port()
        self.here: dict[str, subprocess.Popen[bytes]] = {}
        self._after = ExitStack()

    def __enter__(self) -> Hosts:
        postgres, broker_port, mlflow = Postgres(self.folder / "postgres"), free_port(), MlflowServer(self.folder / "mlflow")
        self._after.callback(postgres.remove)
        self._after.callback(mlflow.remove)
        postgres.start()
        self._broker(broker_port)
        mlflow.start()
        for port in (postgres.port, broker_port, mlflow.port):
            self.wire.relay(port)
        self.ledger_url = postgres.url.replace("postgresql://", "postgresql+psycopg://")
        near, far = (self._env(host, postgres.port, broker_port, mlflow.port) for host in ("127.0.0.1", NEAR))
        subprocess.run([sys.executable, "-m", "workers", "prepare"], env=near, cwd=ROOT, check=True, capture_output=True)
        self._start("api", near, sys.executable, "-m", "api")
        for role in ("sweeper", "beat"):
            self.here[role] = self._start(role, near, sys.executable, "-m", "workers", role)
        for role in ("predict", "general", "quarantine", "sweeper", "beat"):
            self._start(f"far-{role}", far, *self.wire.over_there(sys.executable, "-m", "workers", role))
        until(self._serves, 120, "a champion serves")
        return self

    def __exit__(self, *_: object) -> None:
        self._after.close()

    def client(self) -> httpx.Client:
        """Someone with the key."""
        headers = {"Authorization": f"Bearer {KEY}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=30, trust_env=False)

    def _env(self, host: str, postgres: int, broker: int, mlflow: int) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {
            **kept,
            "DATA_DIR": str(self.data),
            "API_KEY": KEY,
            "API_PORT": str(self.port),
            "DATABASE_URL": f"postgresql://postgres@{host}:{postgres}/postgres",
            "REDIS_URL": f"redis://:{PASSWORD}@{host}:{broker}/0",
            "MLFLOW_TRACKING_URI": f"http://{host}:{mlflow}",
            "CHECK_INTERVAL_SECONDS": "2",
            "JOB_LEASE_S": f"{LEASE_S:g}",
            "OMP_NUM_THREADS": "1",
        }

    def _broker(self, port: int) -> None:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", ""]
        self._start("broker", {}, find_server().path, *options)

    def _start(self, name: str, env: dict[str, str], *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            started = subprocess.Popen(command, env=env, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        self._after.callback(_end, started)
        return started

    def _serves(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.get("/model-status").json().get("version"))
        except httpx.HTTPError:
            return False


def _end(process: subprocess.Popen[bytes]) -> None:
    processes.kill(processes.tree([process.pid]))
    process.wait(10)


def main() -> int:
    """Play it; 0 if everything was kept."""
    folder = Path(tempfile.mkdtemp(prefix="hosts-"))
    folder.chmod(0o711)  # PostgreSQL's own user has to get in
    row = Row("hosts", "ours", notes=["workers on another host, PostgreSQL"])
    try:
        with Wire() as wire, Hosts(folder, wire) as hosts:
            over_s = _play(wire, hosts, row)
    except Missing as missing:
        print(f"not possible here: {missing}")
        return 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    row.load = os.getloadavg()[0]
    print(table.HEAD)
    print(table.line(row))
    sign = "✓" if over_s <= TAKEN_OVER_S else "✕"
    print(f"{sign} {over_s:.1f} s after the first host's beat and sweeper died a check of the second's had ended")
    return 0 if row.kept and over_s <= TAKEN_OVER_S else 1


def _play(wire: Wire, hosts: Hosts, row: Row) -> float:
    """Seconds until the second host's beat and sweeper had taken over."""
    with hosts.client() as client:
        load = Load(client, JOBS, RATE, 0)
        load.start()
        time.sleep(3.0)
        wire.cut()
        time.sleep(CUT_S)
        wire.join()
        wire.delay_s = DELAY_S
        time.sleep(SLOW_S)
        wire.delay_s = 0.0
        died_at = time.time()
        for process in hosts.here.values():
            process.send_signal(signal.SIGKILL)
        ended = time.monotonic()
        over_s = _until_checked(client, died_at)
        load.join()
        ids = [each.job_id for each in load.posted if each.job_id]
        wait_done(hosts.ledger_url, ids, LEASE_S + 60.0)
        row.done_s = time.monotonic() - ended
        with records_of(hosts.ledger_url, hosts.data / "artifacts") as records:
            judge(row, load.posted, client, records)
    return over_s


def _until_checked(client: httpx.Client, since: float) -> float:
    """Seconds until a check that was asked for after `since` (epoch seconds) has ended; infinite after a minute."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since + 1))
    for _ in _every(0.5, 60.0):
        found = client.get("/jobs?kind=check&status=succeeded&limit=1").json()["jobs"]
        if found and found[0]["created_at"] > stamp:
            return time.time() - since
    return float("inf")


def _every(seconds: float, most: float) -> Iterator[None]:
    end = time.monotonic() + most
    while time.monotonic() < end:
        yield
        time.sleep(seconds)


if __name__ == "__main__":
    sys.exit(main())
