"""Commits that wait for no disk, and what makes them durable after all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import Connection

from storage import jobs
from storage.database import Database
from storage.jobs import NewJob
from tests.storage.conftest import NOW


def added(tx: Connection) -> str:
    return jobs.add(tx, [NewJob.make("predict", "default", "predict", NOW, 4)])[0].id


def setting(tx: Connection, db: Database) -> str:
    return str(tx.exec_driver_sql("PRAGMA synchronous" if db.sqlite else "SHOW synchronous_commit").scalar())


def test_only_lax_commits_wait_for_no_disk(db: Database) -> None:
    """The engine's own word for it; everything but `begin_lax` is durable when it returns."""
    with db.begin() as full, db.read() as read:
        assert {setting(full, db), setting(read, db)} == {"2" if db.sqlite else "on"}
    with db.begin_lax() as lax:
        assert setting(lax, db) == ("1" if db.sqlite else "off")
    assert db.run(lambda tx: setting(tx, db), lax=True) == ("1" if db.sqlite else "off")


def test_a_lax_commit_is_seen_at_once_and_one_that_fails_never(db: Database) -> None:
    """A worker may claim what is not yet on the disk; what was rolled back is not there."""
    with db.begin_lax() as tx:
        there = added(tx)

    def fails(tx: Connection) -> None:
        added(tx)
        raise LookupError

    with pytest.raises(LookupError):
        db.run(fails, lax=True)
    with db.read() as tx:
        assert [job.id for job in jobs.listed(tx, None, None, None, 10, None).entries] == [there]


def test_harden_makes_durable_what_was_committed_before(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite: the log itself is synced, and at first its name. PostgreSQL: the server's log is flushed beyond the commit."""
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    with db.begin_lax() as tx:
        added(tx)
        written = None if db.sqlite else tx.exec_driver_sql("SELECT pg_current_wal_insert_lsn()::text").scalar()
    db.harden()
    if db.sqlite:
        folder = Path(str(db.engine.url.database)).parent.name
        assert synced == ["ledger.db-wal", folder]
        db.harden()
        assert synced[2:] == ["ledger.db-wal"]
    else:
        with db.read() as tx:
            assert tx.exec_driver_sql("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", (written,)).scalar()
