"""The whole ledger at one moment, as files; and back. SQLite by its online backup, PostgreSQL by COPY: no program is needed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, func, inspect, make_url, select, text, update

from storage import ledger
from storage.database import Database
from storage.migrate import migrate_to, revision_of
from storage.schema import metadata, models, versions

SQLITE_FILE: Final = "ledger.db"
COPIES: Final = "ledger"  # the folder of PostgreSQL's tables, a CSV file each, with a header
REFERRING: Final = (
    *(("jobs", "artifact"), ("jobs", "result_artifact"), ("predictions", "artifact")),
    *(("datasets", "artifact"), ("versions", "artifact")),
)


class InUse(RuntimeError):
    """Processes still work on the ledger that is to be replaced; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A ledger at one moment: `sqlite` or `postgresql`, its revision, and the artifacts that its rows name."""

    kind: str
    revision: str
    artifacts: frozenset[str]


def kind_of(url: str) -> str:
    """`sqlite` or `postgresql`."""
    return make_url(url).get_backend_name()


def take(url: str, folder: Path) -> Snapshot:
    """Write the ledger as it is now into `folder`; nobody waits for it, and it waits for nobody.

    Raises:
        LookupError: there is no ledger at `url`.
        DBAPIError, sqlite3.Error, OSError: it cannot be read, or not be written there.
    """
    if kind_of(url) == "sqlite":
        copy_sqlite(Path(str(make_url(url).database)), folder / SQLITE_FILE)
        copied = Database(f"sqlite:///{folder / SQLITE_FILE}", pool_size=1)
        try:
            with copied.read() as tx:
                return _described(tx)
        finally:
            copied.close()
    database = Database(url, pool_size=1)
    try:
        with database.read(one_moment=True) as tx:
            found = _described(tx)
            (folder / COPIES).mkdir()
            for table in inspect(tx).get_table_names():
                _copy_out(tx, table, folder / COPIES / f"{table}.csv")
            return found
    finally:
        database.close()


def copy_sqlite(source: Path, to: Path) -> None:
    """A consistent copy of a SQLite file in use. In one step: one made in several begins anew with each write of others.

    Raises:
        LookupError: there is no such file.
    """
    if not source.exists():
        raise LookupError(f"{source} does not exist: expected a SQLite database.")
    readonly = f"{source.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(readonly, uri=True, timeout=60)) as original, closing(sqlite3.connect(to)) as copy:
        original.backup(copy)


def is_there(url: str) -> bool:
    """Whether there is a ledger at `url`."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return Path(str(parsed.database)).exists()
    database = Database(url, pool_size=1)
    try:
        with database.read() as tx:
            return revision_of(tx) is not None
    finally:
        database.close()


def remove_sqlite(url: str) -> None:
    """Delete a SQLite ledger, its log with it; PostgreSQL's is replaced in the one transaction of `put_back`."""
    for end in ("", "-wal", "-shm"):
        Path(f"{make_url(url).database}{end}").unlink(missing_ok=True)


def refuse_others(url: str) -> None:
    """A SQLite ledger's stack is known by the lock on its folder; a database server knows who is connected.

    Raises:
        InUse: others have connections to the database.
    """
    if kind_of(url) == "sqlite":
        return
    database = Database(url, pool_size=1)
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    try:
        with database.read() as tx:
            others = tx.execute(text(f"{asked} AND backend_type = 'client backend'")).scalar_one()
    finally:
        database.close()
    if others:
        raise InUse(f"{others} other connections to the database are open: stop the stack first.")


def put_back(url: str, folder: Path, revision: str, now: float, wait_s: float) -> None:
    """Make the snapshot in `folder` the ledger at `url`, in place of what is there, at the newest revision.

    What ran then is queued, its attempts refunded: nothing failed. Each bell is due, and each champion's alias is to be set
    again, since the registry's copy was made a moment later and might tell of a move that this ledger has not made.

    Raises:
        InUse: others have connections to the database (PostgreSQL).
        DBAPIError, OSError: it cannot be written; then nothing has changed.
    """
    if kind_of(url) == "sqlite":
        staged = Database(f"sqlite:///{folder / SQLITE_FILE}", pool_size=1)
        with staged.begin() as tx:
            _settle(tx, now, wait_s)
        staged.close()
        target = Path(str(make_url(url).database))
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / SQLITE_FILE).replace(target)
        return
    database = Database(url, pool_size=1)
    try:
        with database.begin() as tx:
            for table in inspect(tx).get_table_names():
                tx.exec_driver_sql(f"DROP TABLE {_quoted(table)} CASCADE")
            migrate_to(tx, revision)
            for name, _ in inspect(tx).get_sorted_table_and_fkc_names():
                if name and name != "alembic_version":
                    _copy_in(tx, name, folder / COPIES / f"{name}.csv")
            _settle(tx, now, wait_s)
    finally:
        database.close()


def _settle(tx: Connection, now: float, wait_s: float) -> None:
    migrate_to(tx, "head")
    ledger.release(tx, "", now)
    ledger.clock_stepped(tx, now, wait_s)
    tx.execute(update(models).where(models.c.champion.is_not(None)).values(alias_pending=True))


def _described(tx: Connection) -> Snapshot:
    revision = revision_of(tx)
    if revision is None:
        raise LookupError("there is no ledger here yet: start the stack once (`python -m workers prepare`).")
    names: set[str] = set()
    for table, column in REFERRING:
        rows = metadata.tables[table].c[column]
        names.update(tx.execute(rows.table.select().with_only_columns(rows).where(rows.is_not(None))).scalars())
    names -= _gone_on_purpose(tx)
    return Snapshot(tx.dialect.name, revision, frozenset(names))


def _gone_on_purpose(tx: Connection) -> set[str]:
    """Files of pruned versions: nobody misses them. A ledger of an older release, backed up before an upgrade, has none."""
    if "pruned_at" not in {column["name"] for column in inspect(tx).get_columns("versions")}:
        return set()
    return set(tx.execute(select(versions.c.artifact).where(versions.c.pruned_at.is_not(None))).scalars())


def _copy_out(tx: Connection, table: str, file: Path) -> None:
    columns = ", ".join(_quoted(column["name"]) for column in inspect(tx).get_columns(table))
    statement = f"COPY {_quoted(table)} ({columns}) TO STDOUT (FORMAT csv, HEADER)"
    with file.open("wb") as out, _driver(tx).cursor() as cursor, cursor.copy(statement) as rows:
        for part in rows:
            out.write(part)


def _copy_in(tx: Connection, table: str, file: Path) -> None:
    tx.exec_driver_sql(f"TRUNCATE {_quoted(table)} CASCADE")  # a migration may have put rows there
    with file.open("rb") as given, _driver(tx).cursor() as cursor:
        columns = ", ".join(_quoted(name.strip('"')) for name in given.readline().decode().strip().split(","))
        with cursor.copy(f"COPY {_quoted(table)} ({columns}) FROM STDIN (FORMAT csv)") as rows:
            while part := given.read(1 << 20):
                rows.write(part)
    for column in inspect(tx).get_columns(table):
        if column.get("autoincrement") and str(column.get("default") or "").startswith("nextval"):
            counted = metadata.tables[table].c[column["name"]]
            following = select(func.coalesce(func.max(counted), 0) + 1).scalar_subquery()
            tx.execute(select(func.setval(func.pg_get_serial_sequence(table, column["name"]), following, False)))


def _driver(tx: Connection) -> Any:
    return tx.connection.driver_connection


def _quoted(name: str) -> str:
    """An identifier of the database's own catalogue, or of a file that a hash vouches for."""
    return '"' + name.replace('"', '""') + '"'
