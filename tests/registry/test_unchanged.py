"""When what was read from MLflow's store may be kept."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from registry.unchanged import Unchanged


def write(file: Path) -> None:
    """One commit by somebody else."""
    with closing(sqlite3.connect(file)) as store, store:
        store.execute("CREATE TABLE IF NOT EXISTS aliases (name TEXT)")
        store.execute("INSERT INTO aliases VALUES ('champion')")


def test_a_stamp_holds_until_somebody_commits(tmp_path: Path) -> None:
    """Two looks at a store at rest are the same, and each commit makes another."""
    file = tmp_path / "store.db"
    write(file)
    watched = Unchanged(file)
    seen = [watched.stamp()]
    for _ in range(3):
        assert watched.stamp() == seen[-1]
        write(file)
        assert watched.stamp() not in seen
        seen.append(watched.stamp())


def test_a_file_that_was_replaced_is_another(tmp_path: Path) -> None:
    """A store that was put back from a copy is looked at afresh; one that is gone has no stamp."""
    file, copy = tmp_path / "store.db", tmp_path / "copy.db"
    write(file)
    write(copy)
    watched = Unchanged(file)
    before = watched.stamp()
    copy.replace(file)
    assert watched.stamp() != before
    file.unlink()
    with pytest.raises(FileNotFoundError):
        watched.stamp()
