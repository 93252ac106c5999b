"""Ids sort by time, artifacts appear whole or not at all."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.artifacts import Artifacts, SettledBehind
from storage.ids import new_id, time_of


def test_ids_grow_even_within_one_moment_and_when_the_clock_is_put_right() -> None:
    ids = [new_id(1_795_000_000.5) for _ in range(500)] + [new_id(1_794_999_999.0), new_id(1_795_000_001.0)]
    assert ids == sorted(set(ids)) and time_of(ids[0]) == 1_795_000_000.5
    assert all(each[14] == "7" and each[19] in "89ab" for each in ids)


def test_a_clock_that_was_years_ahead_is_not_held_on_to() -> None:
    """An id carries its moment, and jobs are rung by it: none may wait for a year that was a mistake."""
    new_id(1_895_000_000.0)
    assert abs(time_of(new_id(1_795_000_100.0)) - 1_795_000_100.0) < 1


def test_a_stream_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)

    def breaks_off() -> Iterator[bytes]:
        yield b"x" * 10
        raise ConnectionError

    with pytest.raises(ConnectionError):
        artifacts.write("bodies/a/table.csv", breaks_off())
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []


def test_a_stream_is_kept_whole_and_its_length_told(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    assert artifacts.write("bodies/a/table.csv", [b"ab", b"c"]) == 3
    assert artifacts.path("bodies/a/table.csv").read_bytes() == b"abc"


@pytest.mark.parametrize("links", [True, False])
def test_a_second_name_outlives_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    """Also where the file system has no links; and what is gone gets none."""
    artifacts = Artifacts(tmp_path)
    artifacts.write("bodies/a/table.csv", [b"abc"])
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", lambda *_: os.link(tmp_path, tmp_path / "folder"))  # EPERM, as of a FAT disk
    artifacts.link("bodies/a/table.csv", "bodies/b/table.csv")
    assert artifacts.path("bodies/b/table.csv").samefile(artifacts.path("bodies/a/table.csv")) == links
    artifacts.remove("bodies/a")
    assert artifacts.path("bodies/b/table.csv").read_bytes() == b"abc"
    with pytest.raises(FileNotFoundError):
        artifacts.link("bodies/a/table.csv", "bodies/c/table.csv")


def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leads out"):
        Artifacts(tmp_path / "in").path("../out")


def test_a_draft_that_fails_is_not_kept(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)

    def die() -> None:
        with artifacts.writing("models/a") as draft:
            draft.write_bytes(b"half")
            raise RuntimeError("the writer died")

    with pytest.raises(RuntimeError):
        die()
    assert list(tmp_path.rglob("*.part")) == [] and not artifacts.path("models/a").exists()


def test_a_file_that_settles_behind_can_be_read_at_once_and_its_fault_is_told_to_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is slow, and then it is full: the file is in place meanwhile, and no wait for it ends as if it were safe."""
    artifacts, synced = Artifacts(tmp_path), threading.Event()

    def full(_: int) -> None:
        synced.wait(10)
        raise OSError(errno.ENOSPC, "full")

    def use() -> None:
        with SettledBehind() as disk:
            with artifacts.writing("bodies/a/rows.arrow", disk.settle) as draft:
                draft.write_bytes(b"rows")
            assert artifacts.path("bodies/a/rows.arrow").read_bytes() == b"rows"
            synced.set()
            disk.wait()
            pytest.fail("it is not safe")

    monkeypatch.setattr("storage.artifacts.os.fsync", full)
    with pytest.raises(OSError, match="full"):
        use()
