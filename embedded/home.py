"""The folder in which one stack keeps its state: its lock, and the small secrets it makes for itself."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path


class AlreadyRunning(RuntimeError):
    """Another stack runs on the same data; the text names its process."""


class Home:
    """DATA_DIR, readable by its owner alone, and held by one stack at a time.

    Raises:
        AlreadyRunning: another process holds it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        for folder in (
            self.root,
            self.logs,
            self.root / "broker",
            self.root / "beat",
            self.root / "mlflow",
            self.root / "flower",
        ):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # the descriptor stays open, and with it the lock, until this process ends
        self._lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._lock, 20).decode().strip() or "unknown"
            os.close(self._lock)
            raise AlreadyRunning(
                f"A stack already runs on {self.shown(self.root)} (pid {holder}). Stop it, or set DATA_DIR to another folder."
            ) from None
        os.ftruncate(self._lock, 0)
        os.write(self._lock, f"{os.getpid()}\n".encode())

    @property
    def logs(self) -> Path:
        """The folder of the processes' logs."""
        return self.root / "logs"

    def release(self) -> None:
        """Let another stack have it."""
        os.close(self._lock)

    def kept_secret(self, name: str, prefix: str = "") -> str:
        """A random secret (192 bits) made at the first call and kept in a file of mode 0600."""
        path = self.root / name
        if not path.exists():
            write_private(path, prefix + secrets.token_urlsafe(24))
        return path.read_text().strip()

    @staticmethod
    def shown(path: Path) -> str:
        """A path as a person reads it: relative to the present folder where it lies below it."""
        here = Path.cwd()
        return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whatever the umask and whatever was there before; whole or not at all."""
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
