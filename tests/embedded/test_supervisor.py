"""Processes are started, watched, restarted and stopped: with real ones."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedded.rotation import Rotation
from embedded.supervisor import Event, Process, StartFailed, Supervisor

READY = re.compile(rb"\bready\b")
SLEEPS = "import time; print('ready', flush=True); time.sleep(60)"


def python(name: str, code: str, ready: re.Pattern[bytes] | None = READY, rank: int = 0, grace_s: float = 3.0) -> Process:
    return Process(name, (sys.executable, "-c", code), ready, stop_rank=rank, grace_s=grace_s)


def until(supervisor: Supervisor, what: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to pass"
        supervisor.tick()
        time.sleep(0.02)


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def ends(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def pid_of(supervisor: Supervisor, name: str) -> int:
    popen = supervisor.children[name].popen
    assert popen is not None
    return popen.pid


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, events: list[Event]) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path, events.append)
    yield made
    made.stop()


def test_a_process_is_ready_once_its_log_says_so(supervisor: Supervisor, events: list[Event]) -> None:
    """Not before: the wait ends with the line."""
    supervisor.start([python("slow", "import time; time.sleep(.3); " + SLEEPS)])
    assert supervisor.wait_ready(["slow"], timeout_s=10)
    assert [(event.name, event.kind) for event in events] == [("slow", "ready")]
    assert events[0].seconds >= 0.3


def test_a_one_shot_is_ready_with_its_end(supervisor: Supervisor) -> None:
    """Exit status 0 is what the next stage waits for, and it is not started again."""
    supervisor.start([python("once", "print('done')", ready=None)])
    assert supervisor.wait_ready(["once"], timeout_s=10)
    supervisor.tick()
    assert supervisor.children["once"].popen is None


def test_a_failed_start_tells_the_last_lines_of_the_log(supervisor: Supervisor) -> None:
    """Which process, where its log is, and what it wrote last."""
    supervisor.start([python("bad", "raise SystemExit('API_PORT=0: expected a port')", ready=None)])
    with pytest.raises(StartFailed, match=r"(?s)bad ended before it was ready: exit status 1 .*bad\.log.*API_PORT=0: expected"):
        supervisor.wait_ready(["bad"], timeout_s=10)


def test_a_start_that_takes_too_long_fails(supervisor: Supervisor) -> None:
    """A process that never gets ready does not hold the start up for ever."""
    supervisor.start([python("mute", "import time; time.sleep(60)")])
    with pytest.raises(StartFailed, match="mute was not ready within 0 s"):
        supervisor.wait_ready(["mute"], timeout_s=0.2)


def test_a_killed_process_comes_back_later(supervisor: Supervisor, events: list[Event]) -> None:
    """One event for the death, with the pause, and one for the new readiness."""
    supervisor.start([python("worker", SLEEPS)])
    supervisor.wait_ready(["worker"], timeout_s=10)
    first = pid_of(supervisor, "worker")
    os.kill(first, signal.SIGKILL)
    until(supervisor, lambda: len(events) == 3)
    assert [event.kind for event in events] == ["ready", "ended", "ready"]
    assert (events[1].detail, events[1].seconds) == ("killed by SIGKILL", 0.5)
    assert pid_of(supervisor, "worker") != first


def test_the_back_off_doubles_to_ten_seconds(tmp_path: Path) -> None:
    """0.5, 1, 2, 4, 8, 10, 10 s between the starts of what dies at once, on a clock of the test's own."""
    told: list[Event] = []
    now = [0.0]
    supervisor = Supervisor(tmp_path, told.append, clock=lambda: now[0])
    supervisor.start([Process("dies", ("/bin/false",), READY)])
    deadline = time.monotonic() + 20
    while len(told) < 7 and time.monotonic() < deadline:
        supervisor.tick()
        if supervisor.children["dies"].popen is None:
            now[0] += 0.25
        time.sleep(0.002)
    assert [event.seconds for event in told] == [0.5, 1, 2, 4, 8, 10, 10]


def test_a_stop_leaves_no_grandchild_behind(supervisor: Supervisor, tmp_path: Path) -> None:
    """What a child started is of its group, and goes with it even if it ignores signals."""
    code = (
        "import subprocess, sys, time\n"
        "deaf = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)'\n"
        "print(subprocess.Popen([sys.executable, '-c', deaf]).pid, 'ready', flush=True)\n"
        "time.sleep(60)"
    )
    supervisor.start([python("parent", code)])
    supervisor.wait_ready(["parent"], timeout_s=10)
    grandchild = int((tmp_path / "parent.log").read_text().split()[0])
    assert alive(grandchild)
    supervisor.stop()
    assert ends(grandchild)


def test_the_ranks_are_stopped_in_order(supervisor: Supervisor, tmp_path: Path) -> None:
    """The smaller rank has ended before the next is asked to."""
    code = (
        "import signal, sys, time, pathlib\n"
        "def end(*_):\n"
        "    time.sleep(.2)\n"
        f"    with pathlib.Path({str(tmp_path / 'order')!r}).open('a') as order: order.write('{{}} ')\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); print('ready', flush=True); time.sleep(60)"
    )
    ranks = {"broker": 2, "api": 0, "workers": 1}
    supervisor.start(python(name, code.format(name), rank=rank) for name, rank in ranks.items())
    supervisor.wait_ready(ranks, timeout_s=10)
    supervisor.stop()
    assert (tmp_path / "order").read_text().split() == ["api", "workers", "broker"]


def test_a_deaf_process_is_killed_after_its_grace(supervisor: Supervisor) -> None:
    """SIGTERM first; SIGKILL when the grace is over, not much later."""
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS
    supervisor.start([python("deaf", deaf, grace_s=0.3)])
    supervisor.wait_ready(["deaf"], timeout_s=10)
    began = time.monotonic()
    supervisor.stop()
    assert 0.3 <= time.monotonic() - began < 2.0
    assert supervisor.children["deaf"].gone()


def test_a_second_request_ends_the_patience(supervisor: Supervisor) -> None:
    """Ctrl-C twice kills at once, whatever the graces are."""
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS
    supervisor.start([python("deaf", deaf, grace_s=30)])
    supervisor.wait_ready(["deaf"], timeout_s=10)
    supervisor.request_stop()
    supervisor.request_stop()
    began = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - began < 2.0


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_children_end_with_a_killed_supervisor(tmp_path: Path) -> None:
    """Even kill -9 of the supervisor leaves no process: the kernel tells its children."""
    code = (
        "import re, sys, time; from pathlib import Path\n"
        "from embedded.supervisor import Process, Supervisor\n"
        f"s = Supervisor(Path({str(tmp_path)!r}), print)\n"
        f"s.start([Process('child', (sys.executable, '-c', {SLEEPS!r}), re.compile(b'ready'))])\n"
        "s.wait_ready(['child'], 10); print(s.children['child'].popen.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."}
    ) as boss:
        assert boss.stdout is not None
        boss.stdout.readline()  # the event
        child = int(boss.stdout.readline())
        assert alive(child)
        boss.kill()
    assert ends(child)


def test_a_log_that_grows_too_long_is_put_aside_while_its_process_writes_on(tmp_path: Path, events: list[Event]) -> None:
    """Every line is in the log or in one of those put aside, and the process notices nothing."""
    code = "import time; print('ready', flush=True)\n"
    code += "for n in range(300): print(f'{n:04} ' + 'x' * 95, flush=True); time.sleep(0.002)"
    now = [0.0]
    supervisor = Supervisor(tmp_path, events.append, Rotation(4_000, 20), clock=lambda: now[0])
    supervisor.start([python("talker", code)])
    while not any(event.kind == "ended" for event in events):
        now[0] += 5.0
        supervisor.tick()
        time.sleep(0.02)
    supervisor.stop()
    logs = sorted(tmp_path.glob("talker.log*"))
    said = sorted(line[:4] for log in logs for line in log.read_text().splitlines() if line.endswith("x"))
    assert len(logs) > 3
    assert len(set(said)) >= 299  # a line written between the last look and the cut is lost
    assert all(log.stat().st_mode & 0o077 == 0 for log in logs if log.name != "talker.log")


def test_only_so_many_logs_are_kept(tmp_path: Path) -> None:
    """The oldest goes; a short log stays where it is."""
    log = tmp_path / "a.log"
    for n in range(5):
        log.write_text(f"{n}" * 20)
        assert Rotation(10, 2).turn(log)
    log.write_text("short")
    assert not Rotation(10, 2).turn(log)
    assert {path.name: path.read_text()[:1] for path in tmp_path.iterdir()} == {"a.log": "s", "a.log.1": "4", "a.log.2": "3"}
