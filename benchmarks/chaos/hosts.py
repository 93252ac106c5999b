"""`python -m benchmarks.chaos.hosts`: two hosts, played by two network namespaces, and the wire between them.

On one: PostgreSQL, broker, MLflow, the API, a sweeper and a beat. On the other: the workers, a sweeper and a beat. While
jobs run the wire is cut for longer than a lease, then made slow, then healed, and the first host's sweeper and beat die.
Exit 1 if a job was lost, failed or was recorded twice, or if nobody had taken over within 30 s. Needs root, `ip` and
PostgreSQL's programs.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress

import httpx

from benchmarks.chaos import table
from benchmarks.chaos.judge import Row, judge, records_of, wait_done
from benchmarks.chaos.load import Load
from benchmarks.chaos.servers import Missing
from benchmarks.parts import Parts
from benchmarks.stack import until

NEAR, FAR = "10.77.9.1", "10.77.9.2"
JOBS, RATE, LEASE_S = 2_400, 60.0, 10.0
CUT_S, SLOW_S, DELAY_S = 15.0, 10.0, 0.2
TAKEN_OVER_S = 30.0


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
        self._ip("-n", self._name, "link", "set", "lo", "up")
        self._ip("-n", self._name, "link", "set", self._far, "up")
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

    def over_there(self) -> list[str]:
        """What a command begins with that runs on the second host."""
        return ["ip", "netns", "exec", self._name]

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
        with suppress(OSError):  # one end is gone: so is the other, in a moment
            while data := await reader.read(65_536):
                await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()
        writer.close()

    def _ip(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)


def main() -> int:
    """Play it; 0 if everything was kept."""
    row = Row("hosts", "ours", notes=["workers on another host, PostgreSQL"])
    try:
        with Wire() as wire, Parts(LEASE_S) as parts:
            _start(wire, parts)
            over_s = _play(wire, parts, row)
    except Missing as missing:
        print(f"not possible here: {missing}")
        return 2
    row.load = os.getloadavg()[0]
    print(table.HEAD)
    print(table.line(row))
    sign = "✓" if over_s <= TAKEN_OVER_S else "✕"
    print(f"{sign} {over_s:.1f} s after the first host's beat and sweeper died a check of the second's had ended")
    return 0 if row.kept and over_s <= TAKEN_OVER_S else 1


def _start(wire: Wire, parts: Parts) -> None:
    for port in parts.servers:
        wire.relay(port)
    parts.prepare()
    parts.start_python("api", "api")
    for role in ("sweeper", "beat"):
        parts.start_python(role, "workers", role)
    for role in ("predict", "general", "quarantine", "sweeper", "beat"):
        parts.start_python(f"far-{role}", "workers", role, host=NEAR, before=wire.over_there())
    parts.until_served()


def _play(wire: Wire, parts: Parts, row: Row) -> float:
    """Seconds until the second host's beat and sweeper had taken over."""
    with parts.client() as client:
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
        parts.kill("sweeper")
        parts.kill("beat")
        ended = time.monotonic()
        over_s = _until_checked(client, died_at)
        load.join()
        wait_done(parts.ledger_url, load.ids, LEASE_S + 60.0)
        row.done_s = time.monotonic() - ended
        with records_of(parts.ledger_url, parts.data / "artifacts") as records:
            judge(row, load.posted, client, records)
    return over_s


def _until_checked(client: httpx.Client, since: float) -> float:
    """Seconds until a check that was asked for after `since` (epoch seconds) has ended; infinite after a minute."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since + 1))

    def checked() -> bool:
        found = client.get("/jobs?kind=check&status=succeeded&limit=1").json()["jobs"]
        return bool(found) and found[0]["created_at"] > stamp

    try:
        until(checked, 60.0, "a check of the second host's")
    except TimeoutError:
        return float("inf")
    return time.time() - since


if __name__ == "__main__":
    sys.exit(main())
