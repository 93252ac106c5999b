"""Migrations and tables agree."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from storage.database import Database
from storage.migrate import migrate
from storage.schema import metadata


def test_the_migrations_make_exactly_the_tables_of_the_schema(db: Database) -> None:
    with db.begin() as tx:
        assert compare_metadata(MigrationContext.configure(tx), metadata) == []


def test_migrating_again_changes_nothing(db: Database) -> None:
    migrate(db)
    with db.begin() as tx:
        assert MigrationContext.configure(tx).get_current_revision() == "0001"
