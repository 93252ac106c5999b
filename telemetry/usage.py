"""What a process and the children it has forked use of the machine, read from /proc; nothing where there is none."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since the start (of ended children too), resident bytes (pages that are shared count for each), open files."""

    cpu_s: float
    resident: int
    files: int


def usage(pid: int) -> Usage | None:
    """Of a process and its children together."""
    found = [one for each in (pid, *_children(pid)) if (one := _one(each))]
    if not found:
        return None
    return Usage(sum(one.cpu_s for one in found), sum(one.resident for one in found), sum(one.files for one in found))


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for task in (PROC / str(pid) / "task").iterdir() for child in (task / "children").read_text().split()]
    except OSError:  # it has ended, or this system has no such file
        return []


def _one(pid: int) -> Usage | None:
    try:
        after_name = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        files = len(os.listdir(PROC / str(pid) / "fd"))
    except OSError:  # it has ended, or is not ours to look at
        return None
    user, system, child_user, child_system = (int(ticks) for ticks in after_name[11:15])
    return Usage((user + system + child_user + child_system) / TICKS, int(after_name[21]) * PAGE, files)
