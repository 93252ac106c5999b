"""Logs that do not grow for ever: what is too long is put aside as NAME.log.1, .2, …, the oldest dropped.

The processes go on writing to the file that they were given, so it is copied and cut, not renamed. They append, so that
what they write next begins the file anew.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Rotation:
    """How long a log may be, bytes, and how many older ones are kept."""

    most_bytes: int
    kept: int

    def turn(self, log: Path) -> bool:
        """Put the log aside if it is too long; whether it was."""
        if not log.exists() or log.stat().st_size <= self.most_bytes:
            return False
        for number in range(self.kept - 1, 0, -1):
            older = _numbered(log, number)
            if older.exists():
                older.replace(_numbered(log, number + 1))
        _move_content(log, _numbered(log, 1))
        return True


def _numbered(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")


def _move_content(log: Path, aside: Path) -> None:
    """All that is in the log into another file. It is cut the moment after nothing more came, so that next to nothing is lost."""
    with log.open("rb+") as source, open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as target:
        copied = 0
        while (there := os.fstat(source.fileno()).st_size) > copied:
            copied += os.copy_file_range(source.fileno(), target.fileno(), there - copied)
        source.truncate(0)
