"""Whether a SQLite file has been written since it was last looked at: what was read from it may then be kept."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

TIMEOUT_S = 3.0


class Unchanged:
    """One file, on a connection of its own; for one thread at a time."""

    def __init__(self, file: Path) -> None:
        """Touches nothing yet."""
        self._file = file
        self._inode = 0
        self._watching: sqlite3.Connection | None = None

    def stamp(self) -> tuple[int, int]:
        """Differs from every stamp of before if anything was committed since, or the file is another.

        Raises:
            sqlite3.Error, OSError: there is no such file.
        """
        inode = self._file.stat().st_ino
        if self._watching is None or inode != self._inode:
            self.close()
            self._watching = sqlite3.connect(f"file:{quote(str(self._file))}?mode=ro", uri=True, timeout=TIMEOUT_S)
            self._inode = inode
        return inode, int(self._watching.execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        """Let the file go."""
        if self._watching is not None:
            with suppress(sqlite3.Error):
                self._watching.close()
        self._watching = None
