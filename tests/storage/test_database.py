"""Commits that wait for no disk, and what makes them durable after all."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError, OperationalError

from storage import jobs
from storage.database import LOG_PAGES, Database
from storage.jobs import NewJob
from storage.migrate import migrate
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
    assert db.run(lambda tx: setting(tx, db), within=db.singly_lax) == ("1" if db.sqlite else "off")
    assert db.run(lambda tx: setting(tx, db), within=db.singly) == ("2" if db.sqlite else "on")


def test_no_statement_is_compiled(db: Database) -> None:
    """PostgreSQL took 30 ms to compile each look at a table of ten rows: without an index it looks costly beyond measure."""
    if db.sqlite:
        pytest.skip("SQLite compiles nothing to machine code")
    for within in (db.begin, db.begin_lax, db.read):
        with within() as tx:
            assert tx.exec_driver_sql("SHOW jit").scalar_one() == "off"


def test_a_lax_commit_is_seen_at_once_and_one_that_fails_never(db: Database) -> None:
    """A worker may claim what is not yet on the disk; what was rolled back is not there."""
    with db.begin_lax() as tx:
        there = added(tx)

    def fails(tx: Connection) -> None:
        added(tx)
        raise LookupError

    with pytest.raises(LookupError), db.begin_lax() as tx:
        fails(tx)
    with db.read() as tx:
        assert [job.id for job in jobs.listed(tx, None, None, None, 10, None).entries] == [there]


def test_a_group_accepted_at_once_is_there_whole_or_not_at_all(db: Database) -> None:
    """Without a transaction around it on PostgreSQL: its rows are one statement, which the last of them spoils."""
    new = [NewJob.make("predict", "default", "predict", NOW, 4) for _ in range(70)]
    with db.singly_lax() as tx:
        jobs.add(tx, new[:1])
    with pytest.raises(IntegrityError), db.singly_lax() as tx:
        jobs.add(tx, [*new[1:], new[0]])
    with db.read() as tx:
        assert [job.id for job in jobs.listed(tx, None, None, None, 100, None).entries] == [new[0].id]


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


def write(db: Database, megabytes: int) -> None:
    """A commit of so much."""
    with db.begin() as tx:
        tx.exec_driver_sql("CREATE TABLE IF NOT EXISTS much (what BLOB)")
        tx.exec_driver_sql("INSERT INTO much VALUES (zeroblob(?))", (megabytes << 20,))


def test_the_log_is_folded_by_whoever_tidies_and_by_no_commit(tmp_path: Path) -> None:
    """Commits leave the file alone, so that nobody waits for it; after a look the log begins anew."""
    file = tmp_path / "ledger.db"
    writer, tidier = Database(f"sqlite:///{file}"), Database(f"sqlite:///{file}")
    write(writer, 17)
    write(writer, 1)
    assert file.stat().st_size < 1 << 20
    assert tidier.tidy() > 4 * LOG_PAGES
    assert file.stat().st_size > 17 << 20
    write(writer, 1)
    assert 0 < tidier.tidy() < LOG_PAGES  # at once: the look before found much
    assert tidier.tidy() == 0  # the last one found little: not worth another look so soon


def test_an_endless_log_is_ended_but_no_reader_holds_up_the_writers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader needs the log as it is: the writers go on behind it, and the next look after it ends the log."""
    monkeypatch.setattr("storage.database.ENDLESS_LOG", 100)
    file = tmp_path / "ledger.db"
    writer, tidier = Database(f"sqlite:///{file}"), Database(f"sqlite:///{file}")
    write(writer, 5)
    with writer.read() as tx:
        assert len(tx.exec_driver_sql("SELECT * FROM much").all()) == 1
        write(writer, 5)
        began = time.monotonic()
        tidier.tidy()
        assert time.monotonic() - began < 5
        write(writer, 5)
    tidier.tidy()
    write(writer, 1)
    assert tidier.tidy() < LOG_PAGES
    with tidier.read() as tx:
        assert tx.exec_driver_sql("SELECT count(*) FROM much").scalar() == 4


def test_a_connection_that_broke_while_it_rested_is_not_used(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL ends it: whoever comes after a while gets another one; who comes at once is told, and only he."""
    if db.sqlite:
        pytest.skip("a file ends no connections")

    def end_the_resting() -> None:
        other = Database(str(db.engine.url.render_as_string(hide_password=False)))
        with other.begin() as tx:
            others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database()"
            tx.exec_driver_sql(f"{others} AND pid <> pg_backend_pid()").all()
        other.close()

    def asked() -> int:
        with db.read() as tx:
            return len(jobs.get_many(tx, ["none"]))

    monkeypatch.setattr("storage.database.IDLE_S", 0.0)
    assert asked() == 0
    end_the_resting()
    assert asked() == 0
    monkeypatch.setattr("storage.database.IDLE_S", 60.0)
    assert asked() == 0
    end_the_resting()
    with pytest.raises(OperationalError):
        asked()
    assert asked() == 0


def test_whoever_waits_to_write_gets_the_lock_as_soon_as_it_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it has waited, it looks again after the same short pause; and it gives up when its time is over."""
    holder, waiter = Database(f"sqlite:///{tmp_path / 'ledger.db'}"), Database(f"sqlite:///{tmp_path / 'ledger.db'}", busy_s=0.05)
    pauses: list[float] = []
    holding = holder.begin()
    holding.__enter__()

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 500:
            holding.__exit__(None, None, None)

    with pytest.raises(OperationalError, match="locked"), waiter.begin():
        pass
    monkeypatch.setattr("storage.database.time.sleep", sleep)
    monkeypatch.setattr("storage.database.time.monotonic", lambda: 0.0)
    with waiter.begin() as tx:
        assert tx.exec_driver_sql("SELECT 1").scalar_one() == 1
    assert pauses == [pytest.approx(0.0002)] * 500
    holder.close()
    waiter.close()


def test_a_read_of_one_moment_sees_nothing_that_others_write_meanwhile(db: Database) -> None:
    """On either ledger; a training is known by the moment of its rows. The connection is an ordinary one again afterwards."""
    with db.begin() as tx:
        first = added(tx)
    with db.read(one_moment=True) as tx:
        assert set(jobs.get_many(tx, [first])) == {first}
        with db.begin() as other:
            second = added(other)
        assert set(jobs.get_many(tx, [first, second])) == {first}
    with db.read() as tx:
        assert set(jobs.get_many(tx, [first, second])) == {first, second}


def test_a_read_of_sqlite_shows_one_moment_and_waits_for_a_lock(tmp_path: Path) -> None:
    """Also where its first statement goes to the driver directly: what another writes meanwhile is not there."""
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}", busy_s=7.0)
    migrate(database)
    with database.begin() as tx:
        first = added(tx)
    with database.read() as tx:
        assert set(jobs.get_many(tx, [first])) == {first}
        with database.begin() as other:
            second = added(other)
        assert set(jobs.get_many(tx, [first, second])) == {first}
        assert tx.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 7_000
    with database.read() as tx:
        assert set(jobs.get_many(tx, [first, second])) == {first, second}
    database.close()
