"""Where SQLite and PostgreSQL are told apart in statements; but for `claims.take` and `ledger.finish`, which differ too much."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import ARRAY, Column, ColumnElement, Connection, String, Table, any_, func, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

IN_BINARY = {"binary": True}  # how PostgreSQL is to send rows: bytes as text are twice as many, and are to be read
AT_ONCE = (64, 16, 4, 1)  # rows in one statement: few sizes, so that each statement is prepared once


def upsert(tx: Connection, table: Table) -> Any:
    """An INSERT into `table` that offers `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return sqlite.insert(table) if is_lite(tx) else postgresql.insert(table)


def among(tx: Connection, column: Column[str], values: Sequence[str]) -> ColumnElement[bool]:
    """`column IN values` as one parameter: the statement stays the same however many there are, and so does its plan."""
    if is_lite(tx):
        return column.in_(select(func.json_each(json.dumps(list(values))).table_valued("value").c.value))
    return column == any_(literal(list(values), ARRAY(String)))


def fetch(tx: Connection, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of one statement written by hand, for the hot path: a tenth of the CPU of having SQLAlchemy run it.

    `?` is a parameter. What the two engines say differently stands in braces: `{among}` is `IN` a parameter that is a
    list, `{among_pairs}` is `IN` the JSON of a list of [text, whole number]; `{lock_free}` locks the rows of a SELECT and
    leaves out those that others hold (SQLite runs transactions that write one at a time, and needs no such word);
    `{single}` looks up for each row of `labels` what its prediction was asked, if that was a single row (PostgreSQL, left
    to itself, reads the whole log where there are thousands of labels).

    Raises:
        as SQLAlchemy does: it is the driver that is asked, without SQLAlchemy in between.
    """
    lite = is_lite(tx)
    given = [json.dumps(value) if isinstance(value, list) else value for value in values] if lite else values
    with _cursor(tx) as cursor:
        cursor.execute(_said(lite, sql), given, **({} if lite else IN_BINARY))
        return list(cursor.fetchall())


def execute_many(tx: Connection, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """As `fetch`, of a statement without an answer, for every row."""
    with _cursor(tx) as cursor:
        cursor.executemany(_said(is_lite(tx), sql), rows)


def insert_many(tx: Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, each a value for every column.

    PostgreSQL gets more than one as COPY: a third of the CPU, on both sides, of a statement for each (25 rows).
    """
    names = ", ".join(columns)
    if len(rows) < 2 or is_lite(tx):
        fetch_values(tx, f"INSERT INTO {table} ({names}) {{values}}", rows)
        return
    with _cursor(tx) as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def fetch_values(tx: Connection, sql: str, rows: Sequence[tuple[Any, ...]], *values: Any) -> list[tuple[Any, ...]]:
    """As `fetch`, of a statement that begins with `{values}`, which stands for `rows`; for SQLite, or a single row.

    Many rows in one statement: one a row would let go of Python's lock each time, and wait for its return while it holds the
    ledger's one writer's lock.
    """
    found: list[tuple[Any, ...]] = []
    start = 0
    with _cursor(tx) as cursor:
        while rest := len(rows) - start:
            count = next(size for size in AT_ONCE if size <= rest)
            given = [value for row in rows[start : start + count] for value in row]
            cursor.execute(_said(is_lite(tx), sql, _rows(count, len(rows[0]))), [*given, *values])
            found += cursor.fetchall() if cursor.description else []
            start += count
    return found


def columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Rows of `width` values as so many lists: arrays, which PostgreSQL unnests."""
    return [[row[place] for row in rows] for place in range(width)]


@contextmanager
def _cursor(tx: Connection) -> Iterator[Any]:
    """The driver's own cursor; its errors become SQLAlchemy's, and a connection that broke is not used again."""
    cursor, dialect = tx.connection.cursor(), tx.dialect
    try:
        yield cursor
    except dialect.loaded_dbapi.Error as fault:
        broken = dialect.is_disconnect(fault, tx.connection.dbapi_connection, None)
        if broken:  # and so are those that rest
            tx.invalidate(fault)
            tx.engine.dispose()
        error = dialect.loaded_dbapi.Error
        raise DBAPIError.instance(None, None, fault, error, connection_invalidated=broken, dialect=dialect) from fault
    finally:
        cursor.close()


def is_lite(tx: Connection) -> bool:
    """Whether it is SQLite."""
    return tx.dialect.name == "sqlite"


_SINGLE = 'predictions ON predictions.job_id = labels.job_id AND predictions."rows" = 1'
_SINGLE_LATERAL = (
    'LATERAL (SELECT features FROM predictions WHERE predictions.job_id = labels.job_id AND predictions."rows" = 1 OFFSET 0)'
    " AS asked ON TRUE"
)


@lru_cache(maxsize=64)
def _rows(count: int, columns: int) -> str:
    return "VALUES " + ", ".join([f"({', '.join('?' * columns)})"] * count)


@lru_cache(maxsize=64)
def _said(lite: bool, sql: str, values: str = "") -> str:
    if lite:
        pairs = "IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))"
        return sql.format(
            among="IN (SELECT value FROM json_each(?))", among_pairs=pairs, lock_free="", single=_SINGLE, values=values
        )
    pairs = "IN (SELECT e->>0, (e->>1)::bigint FROM json_array_elements(CAST(? AS json)) AS e)"
    free = "FOR UPDATE SKIP LOCKED"
    said = sql.format(among="= ANY(?)", among_pairs=pairs, lock_free=free, single=_SINGLE_LATERAL, values=values)
    return said.replace("?", "%s")
