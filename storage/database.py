"""One engine per process, on SQLite (WAL, synchronous=FULL) or PostgreSQL, and the two kinds of transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

T = TypeVar("T")

# A server that vanished without a word is noticed within seconds, in ms where libpq counts so.
PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
BUSY_MS = 20_000  # one writer at a time in SQLite: how long the others queue up before they give up


def to_json(value: object) -> str:
    """JSON text of anything msgspec knows; NaN and infinities become null."""
    return msgspec.json.encode(value).decode()


FAULTS = (
    OperationalError,
    InterfaceError,
    PoolTimeout,
)  # the database is not there, or too busy: try again later


class Database:
    """Connections to the ledger.

    Args:
        url: SQLAlchemy URL, `sqlite:///file` or `postgresql+psycopg://…`.
        pool_size: connections kept open; as many again may be opened for a while.
    """

    def __init__(self, url: str, pool_size: int = 8) -> None:
        self.engine = _engine(url, pool_size)
        self.sqlite = self.engine.dialect.name == "sqlite"

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that writes: committed at the end of the block, rolled back if it raises."""
        with self.engine.begin() as tx:
            yield tx

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: it never waits for a writer in SQLite."""
        with self.engine.connect().execution_options(read_only=True) as tx:
            yield tx

    def run(self, work: Callable[[Connection], T], patience_s: float = 20.0) -> T:
        """The result of `work` in a transaction that writes, tried again while the database is away or too busy.

        Raises:
            OperationalError, InterfaceError: it was away for longer than `patience_s` seconds.
        """
        end = time.monotonic() + patience_s
        while True:
            try:
                with self.begin() as tx:
                    return work(tx)
            except (OperationalError, InterfaceError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()


def _engine(url: str, pool_size: int) -> Engine:
    parsed = make_url(url)
    options: dict[str, Any] = {"json_serializer": to_json, "json_deserializer": msgspec.json.decode}
    options |= {"pool_size": pool_size, "max_overflow": pool_size, "pool_timeout": 10}
    if parsed.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, connect_args=PATIENCE, **options)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = create_engine(url, connect_args={"check_same_thread": False}, **options)
    event.listen(engine, "connect", _open_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _open_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    for pragma in (f"busy_timeout={BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its place in the queue at once: upgrading from a read later would fail with SQLITE_BUSY.
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get("read_only") else "BEGIN IMMEDIATE")
