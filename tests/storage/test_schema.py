"""Migrations and tables agree."""

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from storage.database import Database
from storage.migrate import MIGRATIONS, migrate
from storage.schema import metadata


def test_the_migrations_make_exactly_the_tables_of_the_schema(db: Database) -> None:
    with db.begin() as tx:
        assert compare_metadata(MigrationContext.configure(tx), metadata) == []


def test_migrating_again_changes_nothing(db: Database) -> None:
    migrate(db)
    with db.begin() as tx:
        assert MigrationContext.configure(tx).get_current_revision() == "0007"


def test_one_step_back_and_forth_makes_the_same_tables(db: Database) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with db.begin() as tx:
        config.attributes["connection"] = tx
        command.downgrade(config, "0005")
        assert compare_metadata(MigrationContext.configure(tx), metadata) != []
        command.upgrade(config, "head")
        assert compare_metadata(MigrationContext.configure(tx), metadata) == []
