"""Each test of the ledger runs twice: on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from problems.catalog import builtin
from problems.declaration import declared
from storage import models
from storage.database import Database
from storage.migrate import migrate
from storage.schema import metadata
from tests.postgres import throwaway_database

NOW = 1_795_000_000.0


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with throwaway_database() as url:
        database = Database(url)
        migrate(database)
        database.close()
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty ledger with the model `default`."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
        migrate(database)
    else:
        database = Database(request.getfixturevalue("postgres_url"))
        with database.begin() as tx:
            tx.execute(text(f"TRUNCATE {', '.join(table.name for table in metadata.sorted_tables)}"))
    with database.begin() as tx:
        models.declare(tx, "default", declared(builtin()), "declared", NOW)
    yield database
    database.close()


@pytest.fixture(autouse=True)
def fresh_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids only grow within a process; here each test has a time of its own."""
    monkeypatch.setattr("storage.ids._last", 0)
