"""Bring the ledger's tables to the newest form; safe to run by several processes at once.

Expand, then contract: a migration that only adds (a table, an index, a column that may be null or has a default) runs while
processes of the release before still serve. One that takes away or changes its meaning comes a release later, when nobody uses
it any more, and says so: `UPDATE compatibility SET oldest = '<the revision that stopped using it>'`. A process whose release
does not know that revision stops by itself.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from storage.database import Database
from storage.dialects import fetch

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 0x636D6C  # PostgreSQL advisory lock: one migrator at a time (SQLite has its own writer's lock)


class TooOld(RuntimeError):
    """This release can no longer work on the ledger; the text is one sentence."""


def migrate(database: Database) -> None:
    """Apply all migrations that are missing. Alembic is imported only if there are any: it is a third of the API's start.

    Raises:
        TooOld: a newer release has changed the ledger so that this one must not touch it.
    """
    with database.read() as tx:
        at = revision_of(tx)
        if at is not None and at >= newest():
            refuse_if_too_old(tx)
            return
    with database.begin() as tx:
        if not database.sqlite:
            tx.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        migrate_to(tx, "head")


def refuse_if_too_old(tx: Connection) -> None:
    """One look at a row, for a ledger that is migrated.

    Raises:
        TooOld: a newer release has changed the ledger so that this one must not touch it.
    """
    for (oldest,) in fetch(tx, "SELECT oldest FROM compatibility"):
        if oldest > newest():
            raise TooOld(f"The ledger asks for a release that knows revision {oldest}, this one knows {newest()}: upgrade it.")


def migrate_to(tx: Connection, revision: str) -> None:
    """Apply the migrations up to a revision, `head` for the newest, within a transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = tx
    command.upgrade(config, revision)


@cache
def newest() -> str:
    """The newest revision that this release knows: files are named `<revision>_<what>.py`, in order."""
    return max(file.stem for file in (MIGRATIONS / "versions").glob("[0-9]*.py")).split("_")[0]


def revision_of(tx: Connection) -> str | None:
    """The revision that the ledger is at; None where there is no ledger."""
    if not inspect(tx).has_table("alembic_version"):
        return None
    found = tx.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def is_current(database: Database) -> bool:
    """Whether all migrations that this release knows have been applied."""
    with database.read() as tx:
        return (revision_of(tx) or "") >= newest()
