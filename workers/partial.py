"""A bulk answer under way: an Arrow stream that grows by whole batches, and a note of how much of it is safe on disk.

Each claim writes files of its own, so that a worker that was thought dead and goes on writing spoils nothing. It begins
with a copy of what an earlier claim of the job is known to have made.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa

from storage.artifacts import Artifacts, SyncedBehind, settle_name

END = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # of an Arrow stream
COPIED = 4 << 20  # bytes at once


class Note(msgspec.Struct, kw_only=True):
    """How far an answer is: `done` rows in the first `size` bytes of `answer`, all said by `version` of the rows in `source`."""

    source: str
    version: str
    answer: str
    done: int = 0
    size: int = 0
    labels: dict[str, int] = {}


def furthest(artifacts: Artifacts, job_id: str) -> Note | None:
    """The note of the claim that came furthest with this job; None if there was none, or it left nothing."""
    notes = [msgspec.json.decode(path.read_bytes(), type=Note) for path in _folder(artifacts, job_id).glob("*.note")]
    there = [note for note in notes if artifacts.path(note.answer).exists()]
    return max(there, key=lambda note: note.done, default=None)


class Partial:
    """The answer of one claim. A context: it closes the file, and leaves it for the next claim where there is one.

    What fails before it is further than what it began with leaves nothing: on a full disk each new try would fill it more.

    Args:
        token: names the claim, and no other one ever.
    """

    def __init__(self, artifacts: Artifacts, job_id: str, token: str, source: str, version: str) -> None:
        self._artifacts = artifacts
        self._note_name = f"results/{job_id}/{token}.note"
        self.note = Note(source=source, version=version, answer=f"results/{job_id}/{token}.arrow")
        self.labels: Counter[str] = Counter()
        self._adopted = self._kept = 0  # rows
        path = artifacts.path(self.note.answer)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file: BinaryIO = path.open("xb")
        self._disk = SyncedBehind(self._file.fileno())
        settle_name(path)

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, fault: type[BaseException] | None, *_: object) -> None:
        # a full disk takes what is still to be flushed no more than before
        with suppress(OSError) if fault else nullcontext(), self._file:
            self._disk.close(failed=fault is not None)
        if fault and self._kept <= self._adopted:
            for name in (self.note.answer, self._note_name):
                self._artifacts.remove(name)

    def adopt(self, before: Note) -> None:
        """Begin with what an earlier claim has made."""
        with self._artifacts.path(before.answer).open("rb") as file:
            while (left := before.size - self._file.tell()) > 0:
                self._file.write(file.read(min(COPIED, left)) or _cut_short(before))
        self.note.done = self._adopted = before.done
        self.labels = Counter(before.labels)
        self.keep()

    def append(self, batch: pa.RecordBatch, labels: dict[str, int]) -> None:
        """Add rows, and how many of them have which label."""
        if self.note.done == 0:
            self._file.write(batch.schema.serialize())
        self._disk.wrote(self._file.write(batch.serialize()))
        self.note.done += batch.num_rows
        self.labels.update(labels)

    def keep(self) -> None:
        """Make what there is safe on disk, for whoever has to go on with it."""
        self._sync()
        self.note.size, self.note.labels = self._file.tell(), dict(self.labels)
        self._artifacts.write(self._note_name, [msgspec.json.encode(self.note)])
        self._kept = self.note.done

    def finish(self) -> str:
        """End the stream. Returns the artifact's name."""
        self._file.write(END)
        self._sync()
        return self.note.answer

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def forget_others(artifacts: Artifacts, job_id: str, answer: str) -> None:
    """Remove what other claims of the job have left; only for the claim that ends it, for no other knows whose the answer is."""
    stem = artifacts.path(answer).stem
    for path in _folder(artifacts, job_id).iterdir():
        if path.name.partition(".")[0] != stem:
            path.unlink(missing_ok=True)


def _folder(artifacts: Artifacts, job_id: str) -> Path:
    return artifacts.path(f"results/{job_id}")


def _cut_short(note: Note) -> Any:
    raise EOFError(f"{note.answer} is shorter than the {note.size} bytes that were kept of it")
