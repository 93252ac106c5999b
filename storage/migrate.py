"""Bring the ledger's tables to the newest form; safe to run by several processes at once."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from storage.database import Database

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 0x636D6C  # PostgreSQL advisory lock: one migrator at a time (SQLite has its own writer's lock)


def migrate(database: Database) -> None:
    """Apply all migrations that are missing. Alembic is imported only if there are any: it is a third of the API's start."""
    if is_current(database):
        return
    with database.begin() as tx:
        if not database.sqlite:
            tx.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        migrate_to(tx, "head")


def migrate_to(tx: Connection, revision: str) -> None:
    """Apply the migrations up to a revision, `head` for the newest, within a transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = tx
    command.upgrade(config, revision)


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
    """Whether the newest migration has been applied."""
    with database.read() as tx:
        return revision_of(tx) == newest()
