"""A table from outside is read by a child: what it dies of costs one job, and what the machine lacks costs none."""

from __future__ import annotations

import errno
import faulthandler
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workers import tables
from workers.pieces import Unusable, pieces
from workers.run import JobFailed, TryLater


def crash() -> dict[str, Any]:
    faulthandler.disable()  # pytest's would tell of a crash that is meant
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def eat() -> dict[str, Any]:
    return {"size": len(bytes(tables.MEMORY + (1 << 30)))}


def sleep() -> dict[str, Any]:
    time.sleep(60)
    return {}


def fill() -> dict[str, Any]:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("read", [crash, eat, sleep], ids=["segfault", "memory", "time"])
def test_a_reader_that_dies_of_its_table_fails_one_job(
    read: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed by a signal, by its memory limit or by its alarm: `invalid_rows`, and this process goes on."""
    monkeypatch.setattr(tables, "TIME_S", 1)
    with pytest.raises(JobFailed) as failed:
        tables._in_a_child(read)
    assert failed.value.kind == "invalid_rows"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_reader_that_somebody_kills_is_tried_again(number: signal.Signals) -> None:
    def killed() -> dict[str, Any]:
        os.kill(os.getpid(), number)
        return sleep()

    with pytest.raises(TryLater, match=number.name):
        tables._in_a_child(killed)


def test_a_full_disk_is_not_the_tables_fault() -> None:
    """The child's OSError comes out as one, so that the job is tried again."""
    with pytest.raises(OSError, match="No space left") as fault:
        tables._in_a_child(fill)
    assert fault.value.errno == errno.ENOSPC


@pytest.mark.parametrize("ending", ["csv", "parquet", "arrow"])
def test_a_file_that_the_disk_does_not_give_is_not_the_tables_fault(ending: str, tmp_path: Path) -> None:
    """Its OSError comes out as one, so that the job is tried again; a body that is no table stays `invalid_rows`."""
    with pytest.raises(FileNotFoundError):
        list(pieces(tmp_path / f"away.{ending}", []))
    if ending != "csv":
        (tmp_path / f"junk.{ending}").write_bytes(b"junk" * 100)
        with pytest.raises(Unusable):
            list(pieces(tmp_path / f"junk.{ending}", []))
