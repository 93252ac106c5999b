"""Processes as /proc shows them: which belong to one stack, who is whose child, and how to end them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

GONE = (FileNotFoundError, ProcessLookupError, PermissionError)  # the last for a process that has ended and was not waited for
LISTEN = "0A"  # the state's code in /proc/net/tcp


@dataclass(frozen=True, slots=True)
class Seen:
    """A process: its id, its parent's, and its command line."""

    pid: int
    parent: int
    command: tuple[str, ...]

    @property
    def role(self) -> str:
        """`general` for `python -m workers general`, `api`, `embedded`, …; else the program's name."""
        words = [word for word in self.command if word]
        if "-m" in words[:4]:
            rest = words[words.index("-m") + 1 :]
            return rest[1] if rest[0] == "workers" else rest[0]
        return Path(words[0]).name if words else ""


def of_stack(folder: Path) -> list[Seen]:
    """Every process that was started with DATA_DIR=`folder`."""
    mark = f"DATA_DIR={folder}".encode()
    found = [_seen(entry) for entry in Path("/proc").glob("[0-9]*") if mark in _read(entry / "environ").split(b"\0")]
    return [each for each in found if each is not None]


def kill(pids: Iterable[int], number: signal.Signals = signal.SIGKILL) -> int:
    """Signal these processes, those that have just ended not; how many were there."""
    count = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            count += 1
    return count


def tree(roots: Iterable[int]) -> list[int]:
    """These processes and all that descend from them, as far as they live."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        fields = _stat(int(entry.name))
        if fields:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [pid for pid in roots if _stat(pid)]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds of CPU that these have used so far, with those of their children that have ended; to a hundredth."""
    ticks = sum(sum(int(field) for field in fields[11:15]) for pid in pids if (fields := _stat(pid)))
    return ticks / os.sysconf("SC_CLK_TCK")


def listens(pids: Iterable[int], port: int) -> bool:
    """Whether one of these processes listens on the port, and nobody else does."""
    sockets = set(_listeners(port))
    return bool(sockets) and sockets <= {file for pid in pids for file in _files(pid)}


def _files(pid: int) -> set[str]:
    """Where its descriptors lead to; none if it has ended, and without those that were closed since they were listed."""
    found = set()
    with suppress(*GONE):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(*GONE):
                found.add(os.readlink(link))
    return found


def _listeners(port: int) -> Iterator[str]:
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            fields = line.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield f"socket:[{fields[9]}]"


def resident_mb(pid: int) -> float:
    """Resident memory, MiB; 0 if it has ended."""
    fields = _read(Path(f"/proc/{pid}/statm")).split()
    return int(fields[1]) * os.sysconf("SC_PAGESIZE") / 2**20 if fields else 0.0


def open_files(pid: int) -> int:
    """How many descriptors it has open; 0 if it has ended."""
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the state on; none if it has ended."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(b") ")[2].split()
    return [] if not fields or fields[0] == b"Z" else fields


def _seen(entry: Path) -> Seen | None:
    status = _stat(int(entry.name))
    if not status:
        return None
    command = tuple(_read(entry / "cmdline").decode(errors="replace").split("\0"))
    return Seen(int(entry.name), int(status[1]), command)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended since it was listed
        return b""
