"""Starts processes, sees that they live, and stops them with nothing left behind.

It knows nothing of what it runs. One thread does everything: `tick` looks once at each child, tells
what changed and starts again what died. Each child leads a session of its own, so a Ctrl-C on the
terminal reaches the supervisor alone, and what a child leaves behind can be ended as a group.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from embedded.rotation import Rotation

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 10.0
STEADY_S = 30.0  # a child that lived this long starts again at the shortest back-off
LOOK_S = 5.0  # between two looks at how long the logs are
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class StartFailed(RuntimeError):
    """A process could not be brought up; the text says which, why, and where its log is."""


@dataclass(frozen=True, slots=True)
class Process:
    """One child: what runs, when it is ready, and how it is stopped.

    Attributes:
        ready: a probe; or a pattern that its log holds since the last start; or None for a
            one-shot, which is ready once it has ended with exit status 0.
        stop_rank: smaller ranks are stopped first, equal ones together.
        grace_s: seconds between SIGTERM and SIGKILL.
        mend: puts right what may have kept it from starting; called when it gave up before it was ready.
    """

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool] | re.Pattern[bytes] | None
    env: Mapping[str, str] = field(default_factory=dict)
    stop_rank: int = 0
    grace_s: float = 3.0
    mend: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A child became ready, or ended unasked; `seconds` it took, or until it is started again."""

    name: str
    kind: Literal["ready", "ended"]
    seconds: float
    detail: str = ""


class Child:
    """A process and its present state; only the supervisor touches it."""

    def __init__(self, process: Process, log: Path) -> None:
        self.process = process
        self.log = log
        self.popen: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.log_start = 0
        self.ready = False
        self.deaths = 0
        self.last_end = ""
        self.due_at: float | None = None

    def start(self, now: float) -> None:
        """Spawn it, its output appended to its log."""
        with self.log.open("ab") as log:
            self.log_start = log.tell()
            self.popen = subprocess.Popen(
                self.process.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.process.env},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self.started_at, self.ready, self.due_at = now, False, None

    def look(self, now: float) -> Event | None:
        """What changed since the last look, if something did."""
        if self.popen is None:
            if self.due_at is not None and now >= self.due_at:
                self.start(now)
            return None
        status = self.popen.poll()
        if status is not None:
            return self._ended(status, now)
        if not self.ready and self._is_ready():
            self.ready = True
            return Event(self.process.name, "ready", now - self.started_at)
        return None

    def turn_log(self, rotation: Rotation) -> None:
        """Put its log aside if that is too long; one that is not ready yet is still looked for in it."""
        if (self.ready or self.popen is None) and rotation.turn(self.log):
            self.log_start = 0

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it, if it runs."""
        if self.popen is not None and self.popen.poll() is None:
            self.popen.send_signal(number)

    def gone(self) -> bool:
        """Whether its first process has ended."""
        return self.popen is None or self.popen.poll() is not None

    @property
    def settled(self) -> bool:
        """Whether it became ready, or has shown that it does not easily."""
        return self.ready or self.deaths > 0

    def sweep(self) -> None:
        """Kill whatever of its group is left, and reap it."""
        if self.popen is not None:
            with contextlib.suppress(ProcessLookupError):  # nothing was left
                os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()

    def last_lines(self, count: int = 12) -> str:
        """The end of what it wrote since its last start."""
        return "\n".join(self._written().decode(errors="replace").splitlines()[-count:])

    def _ended(self, status: int, now: float) -> Event | None:
        if self.process.ready is None and status == 0:
            self.popen, self.ready = None, True
            return Event(self.process.name, "ready", now - self.started_at)
        self.sweep()
        if status > 0 and not self.ready and self.process.mend:
            self.process.mend()
        self.popen, self.ready = None, False
        self.deaths = 1 if now - self.started_at > STEADY_S else self.deaths + 1
        pause = min(FIRST_BACKOFF_S * 2 ** (self.deaths - 1), LONGEST_BACKOFF_S)
        self.due_at = now + pause
        self.last_end = _in_words(status)
        return Event(self.process.name, "ended", pause, self.last_end)

    def _is_ready(self) -> bool:
        ready = self.process.ready
        if ready is None:
            return False
        return bool(ready.search(self._written())) if isinstance(ready, re.Pattern) else ready()

    def _written(self) -> bytes:
        with self.log.open("rb") as log:
            log.seek(self.log_start)
            return log.read()


class Supervisor:
    """Children in the order in which they were started.

    Args:
        logs: the folder of their logs, NAME.log each.
        listener: told of every event.
        rotation: how long logs may be, and how many are kept.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        logs: Path,
        listener: Callable[[Event], None],
        rotation: Rotation = Rotation(20 << 20, 5),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.logs = logs
        self.rotation = rotation
        self._turned_at = clock()
        self.listener = listener
        self.clock = clock
        self.children: dict[str, Child] = {}
        self.stop_requests = 0

    def request_stop(self, *_: object) -> None:
        """Ask for an end (a signal handler); a second time: for one without patience."""
        self.stop_requests += 1

    def start(self, processes: Iterable[Process]) -> None:
        """Start processes, without waiting for them."""
        for process in processes:
            child = Child(process, self.logs / f"{process.name}.log")
            self.children[process.name] = child
            child.start(self.clock())

    def tick(self) -> None:
        """Look once at every child; start again those whose back-off is over."""
        for child in self.children.values():
            if event := child.look(self.clock()):
                self.listener(event)
        if self.clock() - self._turned_at >= LOOK_S:
            self._turned_at = self.clock()
            for child in self.children.values():
                child.turn_log(self.rotation)

    def wait_ready(self, names: Iterable[str], timeout_s: float) -> bool:
        """Tick until these are ready; False if a stop was asked for meanwhile.

        Raises:
            StartFailed: one of them ended first (one that can be mended: twice), or the time was over.
        """
        waiting = [self.children[name] for name in names]
        deadline = self.clock() + timeout_s
        while not self.stop_requests:
            self.tick()
            waiting = [child for child in waiting if not child.ready]
            if not waiting:
                return True
            for child in waiting:
                if child.deaths > (child.process.mend is not None):
                    raise StartFailed(self._why(child, f"ended before it was ready: {child.last_end}"))
            if self.clock() > deadline:
                raise StartFailed(self._why(waiting[0], f"was not ready within {timeout_s:.0f} s"))
            time.sleep(0.05)
        return False

    def stop(self) -> None:
        """End everything, rank by rank: SIGTERM, the grace, then SIGKILL for the whole group."""
        for rank in sorted({child.process.stop_rank for child in self.children.values()}):
            self._stop_together([c for c in self.children.values() if c.process.stop_rank == rank])

    def _stop_together(self, children: list[Child]) -> None:
        began = self.clock()
        for child in children:
            child.due_at = None
            child.signal(signal.SIGTERM)
        for child in children:
            while not child.gone() and self.clock() - began < child.process.grace_s:
                if self.stop_requests > 1:
                    break
                time.sleep(0.02)
            child.sweep()

    def _why(self, child: Child, what: str) -> str:
        return f"{child.process.name} {what} (log: {child.log})\n{child.last_lines()}"


def _die_with_parent() -> None:
    """In the child, before its program: SIGTERM as soon as the supervisor's main thread is gone (Linux)."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _in_words(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    return f"killed by {signal.Signals(-status).name}"
