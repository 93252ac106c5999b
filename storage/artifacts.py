"""Files beside the ledger: request bodies, datasets, results, models. Written whole, made durable, then renamed into place."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

# A disk that is full, read-only, failing or away, and a machine without descriptors: it may pass, and is nobody's mistake.
MACHINE_FAULTS = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "ESTALE", "ENODEV", "ENXIO", "EMFILE", "ENFILE")
    if hasattr(errno, name)
)
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # what file systems say that have none
DRAFT = ".part"  # how the name of a file ends that is still being written
SYNCED_EVERY = 8 << 20  # bytes of a growing file: what is left for its end is quick


def settle(draft: Path, target: Path) -> None:
    """Rename a finished file into place so that it survives a power cut: file first, then its folder."""
    _sync(draft)
    draft.replace(target)
    settle_name(target)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def settle_name(path: Path) -> None:
    """Make a file's name survive a power cut: it is its folder's content."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def settle_in_place(path: Path) -> None:
    """As `settle`, of a file that has its name already."""
    _sync(path)
    settle_name(path)


class Artifacts:
    """A folder of files; names are relative paths of our own making, such as `bodies/<job id>`."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, name: str) -> Path:
        """Where an artifact lies.

        Raises:
            ValueError: the name leads out of the folder.
        """
        path = (self.root / name).resolve()
        if not path.is_relative_to(self.root):
            raise ValueError(f"artifact name {name!r} leads out of the artifacts folder")
        return path

    @contextmanager
    def writing(self, name: str, settle: Callable[[Path, Path], None] = settle) -> Iterator[Path]:
        """A path to write to; at the end of the block the file is flushed to disk and appears under `name`.

        Args:
            settle: what puts the finished draft into its place.
        """
        target = self.path(name)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = target.with_name(f"{target.name}.{uuid.uuid4().hex}{DRAFT}")  # containers share pids: only chance is one's own
        try:
            yield draft
            settle(draft, target)
        finally:
            draft.unlink(missing_ok=True)

    def write(self, name: str, chunks: Iterable[bytes | memoryview]) -> int:
        """Store a stream; if it raises, nothing is stored. Returns its length in bytes."""
        with self.writing(name) as draft, draft.open("wb") as file, SyncedBehind(file.fileno()) as disk:
            for chunk in chunks:
                file.write(chunk)
                disk.wrote(len(chunk))
            return file.tell()

    def link(self, name: str, to: str) -> None:
        """Give an artifact a second name, which is as good as a copy, since none ever changes; a copy where there are no links.

        Raises:
            FileNotFoundError: it is gone.
        """
        path = self.path(to)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            path.hardlink_to(self.path(name))
        except OSError as fault:
            if fault.errno not in NO_LINKS:
                raise
            with self.writing(to) as draft:
                shutil.copyfile(self.path(name), draft)
        else:
            settle_name(path)

    def digest(self, name: str) -> str:
        """Hex SHA-256 of an artifact."""
        with self.path(name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def remove(self, name: str) -> None:
        """Delete an artifact or a folder of them; it may be gone already."""
        path = self.path(name)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Free space on the disk that holds the artifacts."""
        return shutil.disk_usage(self.root).free


class SyncedBehind:
    """Has a growing file written to disk while it grows, so that the sync at its end finds little to do. A context.

    Raises:
        OSError: of a later call, what a sync under way has met: the kernel tells each fault once.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._thread: ThreadPoolExecutor | None = None
        self._under_way: Future[None] | None = None
        self._waiting = 0  # bytes

    def __enter__(self) -> SyncedBehind:
        return self

    def wrote(self, size: int) -> None:
        """So many bytes have been given to the file."""
        self._waiting += size
        if self._waiting >= SYNCED_EVERY and (self._under_way is None or self._under_way.done()):
            self._settled()
            self._thread = self._thread or ThreadPoolExecutor(1, "sync")
            self._under_way = self._thread.submit(os.fsync, self._descriptor)
            self._waiting = 0

    def close(self, failed: bool = False) -> None:
        """Wait for what is under way; where the writer has `failed` already, how it ends is no news."""
        if self._thread:
            self._thread.shutdown()
        if not failed:
            self._settled()

    def __exit__(self, fault: type[BaseException] | None, *_: object) -> None:
        self.close(failed=fault is not None)

    def _settled(self) -> None:
        if self._under_way:
            self._under_way.result()


class SettledBehind:
    """Has a finished file made durable while it is read already: who tells of it waits first. A context, for one file.

    Raises:
        OSError: when it is waited for, what the disk has said.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "settle")
        self._under_way: Future[None] | None = None

    def __enter__(self) -> SettledBehind:
        return self

    def __exit__(self, fault: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if not fault:
            self.wait()

    def settle(self, draft: Path, target: Path) -> None:
        """As the function, but it returns at once; until `wait` has, a power cut may leave anything under the name."""
        draft.replace(target)
        self._under_way = self._thread.submit(settle_in_place, target)

    def wait(self) -> None:
        """Until the file is safe; at once if there is none."""
        if self._under_way:
            self._under_way.result()
