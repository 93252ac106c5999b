"""One at a time: a lock on a file, which ends with its process however that ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Refused(RuntimeError):
    """Nothing was begun, and nothing has changed; the text is one sentence."""


@contextmanager
def alone(file: Path, otherwise: str) -> Iterator[None]:
    """Hold the lock on a file for the block.

    Raises:
        Refused: another process holds it; with the text `otherwise`.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with file.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(otherwise) from None
        yield
