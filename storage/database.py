"""One engine per process, on SQLite (WAL, synchronous=FULL) or PostgreSQL, and the kinds of transaction."""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import InterfaceError, InternalError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from storage.dialects import fetch

T = TypeVar("T")
Within = Callable[[], AbstractContextManager[Connection]]

# A server that vanished without a word is noticed within seconds, in ms where libpq counts so.
PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
IDLE_S = 1.0  # a connection to a server that was last used so long ago is asked whether it lives
LAX_POOL = 1  # lax transactions have one user in a process: the front, or the predict worker
LOG_PAGES = 1_000  # of 4 KiB: a write-ahead log of SQLite's that grew so long since the last look is looked at often
ENDLESS_LOG = 16 * LOG_PAGES  # so long, it is ended with the writers kept out, for as long as its last pages take
PRAGMAS = {"journal_mode": "WAL", "temp_store": "MEMORY", "wal_autocheckpoint": 4 * ENDLESS_LOG, "busy_timeout": 0}
QUIET_S = 2.0  # between two looks while little is written: each costs two syncs
RESTART_S = 0.05
BUSY_S = 20.0
TURN_S = 0.0002  # between two looks whether it is one's turn to write: a look takes 2 µs


def to_json(value: object) -> str:
    """JSON text of anything msgspec knows; NaN and infinities become null."""
    return msgspec.json.encode(value).decode()


AWAY = (OperationalError, InterfaceError, InternalError)  # the last is what PostgreSQL says to a write while it is read-only
FAULTS = (*AWAY, PoolTimeout)  # the database is not there, or too busy: try again later


class Database:
    """Connections to the ledger.

    Args:
        url: SQLAlchemy URL, `sqlite:///file` or `postgresql+psycopg://…`.
        pool_size: connections kept open.
        burst: as many more may be opened for a moment (default: `pool_size`).
        busy_s: how long one queues up to write to SQLite, which has one writer at a time, before it gives up.
    """

    def __init__(self, url: str, pool_size: int = 8, burst: int | None = None, busy_s: float = BUSY_S) -> None:
        pool = (pool_size, pool_size if burst is None else burst)
        self.engine = _engine(url, pool, busy_s)
        self.sqlite = self.engine.dialect.name == "sqlite"
        self._lax = _engine(url, (LAX_POOL, LAX_POOL), busy_s, lax=True)
        self._tidy_at = 0.0  # steady seconds
        self._wal = 0  # the write-ahead log whose name is known to be durable

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that writes: committed at the end of the block, rolled back if it raises."""
        with self.engine.begin() as tx:
            yield tx

    @contextmanager
    def begin_lax(self) -> Iterator[Connection]:
        """As `begin`, but its commit waits for no disk: others see it at once, a power cut may take it back.

        Both engines write one log in the order of the commits. So the next commit of `begin`, by whomever, makes durable
        whatever was committed before it, and so does `harden`. A crash of processes takes nothing back.
        """
        with self._lax.begin() as tx:
            yield tx

    def singly(self) -> AbstractContextManager[Connection]:
        """As `begin`, for statements that need no transaction around them: to PostgreSQL each is one, and durable by itself.

        That saves two round trips; there is nothing to roll back.
        """
        return self.begin() if self.sqlite else _each_by_itself(self.engine)

    def singly_lax(self) -> AbstractContextManager[Connection]:
        """As `singly`, but waiting for no disk, as `begin_lax`."""
        return self.begin_lax() if self.sqlite else _each_by_itself(self._lax)

    def harden(self) -> None:
        """Make durable whatever has been committed so far, without holding the ledger's one writer's lock meanwhile.

        Raises:
            OSError: the disk did not take it (SQLite).
        """
        if self.sqlite:
            self._wal = _sync_wal(Path(str(self.engine.url.database)), self._wal)
            return
        with self.begin() as tx:  # a commit that flushes its own record has flushed all before it
            tx.exec_driver_sql("SELECT pg_logical_emit_message(true, 'harden', '')")

    def tidy(self) -> int:
        """Fold SQLite's write-ahead log into the file, beside those who write, if it is time to. Returns its length, pages.

        A commit that has to do so makes everybody wait for the disk; so none does, until the log is very long because
        nobody tidies. PostgreSQL looks after itself.

        Raises:
            OperationalError: the disk did not take it.
        """
        if not self.sqlite or time.monotonic() < self._tidy_at:
            return 0
        try:
            with closing(self.engine.raw_connection()) as connection:
                pages = _fold(connection)
        except sqlite3.Error as fault:
            raise OperationalError("PRAGMA wal_checkpoint", None, fault) from fault
        self._tidy_at = time.monotonic() + (QUIET_S if pages < LOG_PAGES else 0.0)
        return pages

    @contextmanager
    def read(self, one_moment: bool = False) -> Iterator[Connection]:
        """For statements that only read; none waits for a writer.

        SQLite shows all of them one moment. PostgreSQL shows each its own, as it would in a transaction of its default
        kind; that it has none saves two round trips.

        Args:
            one_moment: PostgreSQL too shows all of them the moment of the first.
        """
        level = "REPEATABLE READ" if one_moment else "AUTOCOMMIT"
        options = {"read_only": True} if self.sqlite else {"isolation_level": level}
        with self.engine.connect().execution_options(**options) as tx:
            tx.begin()  # now: of statements that go to the driver directly, SQLAlchemy knows nothing
            yield tx

    def run(self, work: Callable[[Connection], T], patience_s: float = 20.0, within: Within | None = None) -> T:
        """The result of `work` in a transaction that writes, tried again while the database is away or too busy.

        Args:
            within: `singly`, say, in place of `begin`.

        Raises:
            OperationalError, InterfaceError, InternalError: it was away for longer than `patience_s` seconds.
        """
        end = time.monotonic() + patience_s
        while True:
            try:
                with (within or self.begin)() as tx:
                    return work(tx)
            except AWAY:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()
        self._lax.dispose()


@contextmanager
def _each_by_itself(engine: Engine) -> Iterator[Connection]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as tx:
        yield tx


def _engine(url: str, pool: tuple[int, int], busy_s: float, lax: bool = False) -> Engine:
    parsed = make_url(url)
    options: dict[str, Any] = {"json_serializer": to_json, "json_deserializer": msgspec.json.decode}
    options |= {"pool_size": pool[0], "max_overflow": pool[1], "pool_timeout": 10}
    if parsed.get_backend_name() != "sqlite":
        engine = create_engine(url, connect_args=PATIENCE, **options)
        event.listen(engine, "connect", partial(_open_postgres, lax))
        _ping_the_idle(engine)
        return engine
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = create_engine(url, connect_args={"check_same_thread": False}, **options)
    event.listen(engine, "connect", partial(_open_sqlite, lax))
    event.listen(engine, "begin", partial(_begin_sqlite, busy_s))
    return engine


def _ping_the_idle(engine: Engine) -> None:
    """Ask a connection that has rested whether it lives; to ask one of a moment ago would cost as much as a small transaction."""

    @event.listens_for(engine, "checkin")
    def note(_: object, record: ConnectionPoolEntry) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ask(connection: Any, record: ConnectionPoolEntry, _: object) -> None:
        if time.monotonic() - record.info.get("used_at", math.inf) < IDLE_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as fault:
            raise InvalidatePoolError from fault  # the others broke with it: the pool connects anew


def _open_postgres(lax: bool, connection: Any, _record: Any) -> None:
    connection.autocommit = True
    # A prepared statement keeps the plan of its first executions until the next ANALYZE. If the table was all but empty then,
    # that is to read it from end to end, and so it would for every group of the first minutes.
    connection.execute("SET enable_seqscan = off")
    # What has to be read from end to end, as a table of ten rows is, looks so costly then that it would be compiled first: 30 ms.
    connection.execute("SET jit = off")
    if lax:
        connection.execute("SET synchronous_commit = off")
    connection.autocommit = False


def _open_sqlite(lax: bool, connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    for name, value in {**PRAGMAS, "synchronous": "NORMAL" if lax else "FULL"}.items():
        connection.execute(f"PRAGMA {name}={value}")


def _fold(connection: PoolProxiedConnection) -> int:
    cursor = connection.cursor()
    pages = int(cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])
    if pages > ENDLESS_LOG:  # there was no moment in which all of it was folded, so that it could begin anew
        _wait_at_most(connection, RESTART_S)  # who reads for long is not waited for
        cursor.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    return pages


def _wait_at_most(connection: PoolProxiedConnection, seconds: float) -> None:
    """How long SQLite itself waits for a lock; not at all as a connection is opened (PRAGMAS)."""
    if connection.info.get("waits_s", 0.0) != seconds:
        connection.cursor().execute(f"PRAGMA busy_timeout={round(1_000 * seconds)}")
        connection.info["waits_s"] = seconds


def _begin_sqlite(busy_s: float, connection: Connection) -> None:
    """BEGIN. Who may write takes the writer's lock at once: upgrading a read later would fail with SQLITE_BUSY.

    The lock is waited for here. SQLite itself would look at it less and less often, at last every 100 ms, and be overtaken
    all the while by those who come later: a few checks at once kept predictions waiting for 0.2 to 1.3 s.
    """
    pooled = connection.connection
    if connection.get_execution_options().get("read_only"):
        _wait_at_most(pooled, busy_s)
        fetch(connection, "BEGIN")
        return
    _wait_at_most(pooled, 0.0)
    end = time.monotonic() + busy_s
    while _another_writes(pooled.driver_connection) and time.monotonic() < end:
        time.sleep(TURN_S)
    if pooled.driver_connection is not None and not pooled.driver_connection.in_transaction:
        fetch(connection, "BEGIN IMMEDIATE")  # once more, for the fault as SQLAlchemy raises it


def _another_writes(driver: Any) -> bool:
    """Begin to write; whether that was another's turn. Any other fault is met again by whoever tries again."""
    try:
        driver.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as fault:
        return fault.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
    return False


def _sync_wal(database: Path, known: int) -> int:
    """What SQLite itself does at the end of a commit with synchronous=FULL: sync the write-ahead log. Returns its inode.

    Commits that a checkpoint has moved out of the log are durable already: a checkpoint syncs both files. The log is opened
    afresh each time, for it may have been made anew; then its name in the folder is to be made durable as well. SQLite
    holds its locks on other files, so that closing this one releases none.
    """
    log = os.open(f"{database}-wal", os.O_RDONLY)
    try:
        os.fsync(log)
        inode = os.fstat(log).st_ino
    finally:
        os.close(log)
    if inode != known:
        folder = os.open(database.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return inode
