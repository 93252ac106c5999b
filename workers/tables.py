"""Tables from outside: read by a child process under a memory limit, so that what dies on them is that child alone."""

from __future__ import annotations

import os
import resource
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from loguru import logger

from ml.rows import Rows
from problems.declaration import Problem
from storage.artifacts import SettledBehind
from workers import labelling, reading
from workers.columns import as_rows
from workers.pieces import Unusable
from workers.room import Room
from workers.run import JobFailed, TryLater
from workers.validation import Known

MEMORY = 3 << 30  # bytes that the reader may allocate on top of what it shares with its parent
TIME_S = 300
KILLED = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT)  # from outside: not the table's doing, or not surely
KILLED_PAUSE_S, KILLED_TIMES = 1.0, 3
MAGIC = b"ARROW1"  # how an Arrow file begins, and a stream does not


def rows_to_predict(room: Room, problem: Problem, source: str, target: str, disk: SettledBehind) -> str:
    """Check the table in artifact `source` against the problem's features.

    Args:
        disk: has `target` made durable while its rows are used already.

    Returns:
        The artifact that holds the rows as Arrow: `source`, where they can be read as they came, else `target`.

    Raises:
        JobFailed: `invalid_rows`, with the first hundred faults.
        OSError: the disk is full, or the file away.
    """
    path = room.artifacts.path(source)
    if path.suffix == ".arrow" and _in_a_child(lambda: {"as_is": reading.as_is(problem, path)})["as_is"]:
        return source
    with room.artifacts.writing(target, disk.settle) as draft:
        _in_a_child(lambda: {"rows": reading.read_features(problem, path, draft)})
    return target


def rows_to_learn(room: Room, problem: Problem, source: str, target: str, known: Known) -> dict[str, Any]:
    """Write the usable rows of a labelled table as Arrow to `target`; the answer has `rows`, `rejected` and the `report`.

    Raises:
        JobFailed: the table cannot be read, lacks a column, or has no usable row.
    """
    with room.artifacts.writing(target) as draft:
        return _in_a_child(lambda: reading.read_labelled(problem, room.artifacts.path(source), draft, known))


def labels_to_store(room: Room, source: str, target: str, job_id: str | None) -> dict[str, Any]:
    """Write predictions' ids and labels of the table in artifact `source` as Arrow to `target` (see `labelling`).

    Raises:
        JobFailed: the table cannot be read, lacks a column, or has rows that name no prediction.
    """
    with room.artifacts.writing(target) as draft:
        return _in_a_child(lambda: labelling.read_labels(room.artifacts.path(source), draft, job_id))


def rows_of(problem: Problem, path: Path, start: int, count: int) -> Rows:
    """Rows [start, start + count) of a checked Arrow file, mapped, not loaded."""
    return as_rows(problem, mapped(path).slice(start, count))


def labels_of(problem: Problem, path: Path, start: int, count: int) -> list[Any]:
    """Labels of those rows."""
    labels: list[Any] = mapped(path)[problem.label].slice(start, count).to_pylist()
    return labels


def mapped(path: Path) -> pa.Table:
    """A whole Arrow file, or an Arrow stream as a client sent it: in the address space, not in memory."""
    with pa.memory_map(str(path)) as file:
        is_file = file.read(len(MAGIC)) == MAGIC
        file.seek(0)
        with pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file) as table:
            return table.read_all()


def write_columns(path: Path, columns: dict[str, Any]) -> None:
    """Write columns as an Arrow file in batches that can be streamed."""
    table = pa.table(columns)
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table, max_chunksize=65_536)


def _in_a_child(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The answer of `read`, computed by a forked child that may allocate MEMORY bytes and take TIME_S seconds.

    Raises:
        JobFailed: the table cannot be used, or its reader died of it.
        TryLater: somebody killed the reader.
        OSError: the disk is full.
    """
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        _child(read, send)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        answer = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status in KILLED:
        raise TryLater(f"The reader of a table was ended by {signal.Signals(-status).name}", KILLED_PAUSE_S, KILLED_TIMES)
    if status != 0 or not answer:
        logger.warning("the reader of a table ended with {}", signal.Signals(-status).name if status < 0 else status)
        message = "The table cannot be read: its reader died of it, or needed more than its memory and time."
        raise JobFailed("invalid_rows", message, [{"loc": ["body"], "msg": message}])
    report: dict[str, Any] = msgspec.msgpack.decode(answer)
    if "errno" in report:
        raise OSError(report["errno"], os.strerror(report["errno"]))
    if "errors" in report:
        raise JobFailed(report["type"], report["message"], report["errors"])
    return report


def _child(read: Callable[[], dict[str, Any]], send: int) -> None:
    status = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(TIME_S)
        used = (
            int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if Path("/proc").exists() else 8 << 30
        )
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with os.fdopen(send, "wb") as pipe:
            pipe.write(msgspec.msgpack.encode(_answer(read)))
        status = 0
    except BaseException:  # noqa: BLE001 - nothing may leave the child but its exit status
        traceback.print_exc()
    finally:
        os._exit(status)


def _answer(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return read()
    except Unusable as wrong:
        return {"type": wrong.kind, "message": str(wrong), "errors": wrong.errors}
    except OSError as fault:  # a full disk is not the table's fault
        if fault.errno is None:
            raise
        return {"errno": fault.errno}
