"""Migrations and tables agree."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import text

from storage import claims, jobs, ledger, predictions
from storage.database import Database
from storage.jobs import NewJob
from storage.ledger import Outcome
from storage.migrate import MIGRATIONS, TooOld, migrate, migrate_to, newest
from storage.predictions import Logged
from storage.schema import metadata
from tests.storage.conftest import NOW


def test_the_migrations_make_exactly_the_tables_of_the_schema(db: Database) -> None:
    with db.begin() as tx:
        assert compare_metadata(MigrationContext.configure(tx), metadata) == []


def test_migrating_again_changes_nothing(db: Database) -> None:
    migrate(db)
    with db.begin() as tx:
        assert MigrationContext.configure(tx).get_current_revision() == "0012"


def test_one_step_back_and_forth_makes_the_same_tables(db: Database) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with db.begin() as tx:
        config.attributes["connection"] = tx
        command.downgrade(config, "0005")
        assert compare_metadata(MigrationContext.configure(tx), metadata) != []
        command.upgrade(config, "head")
        assert compare_metadata(MigrationContext.configure(tx), metadata) == []


def test_postgresql_sweeps_up_behind_the_queue_by_what_it_does(db: Database) -> None:
    """However many jobs are kept, the dead rows that the looks for open jobs step over are 100,000 and some."""
    if db.sqlite:
        pytest.skip("SQLite keeps no dead rows")
    with db.read() as tx:
        options = tx.exec_driver_sql("SELECT reloptions FROM pg_class WHERE oid = 'jobs'::regclass").scalar_one()
    assert set(options) == {"autovacuum_vacuum_scale_factor=0", "autovacuum_vacuum_threshold=100000"}


def test_a_ledger_that_asks_for_a_newer_release_is_refused_in_a_sentence(db: Database) -> None:
    """A newer release may add to the ledger and be served beside; once it takes away, the old one does not even start."""
    with db.begin() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9001'"))
    try:
        migrate(db)
        with db.begin() as tx:
            tx.execute(text("INSERT INTO compatibility VALUES ('9000')"))
        with pytest.raises(TooOld, match=f"knows revision 9000, this one knows {newest()}"):
            migrate(db)
    finally:  # the tests share PostgreSQL's tables
        with db.begin() as tx:
            tx.execute(text(f"UPDATE alembic_version SET version_num = '{newest()}'"))
            tx.execute(text("DELETE FROM compatibility"))


def test_migrations_run_between_the_statements_of_a_connection_that_stays_open(tmp_path: Path) -> None:
    """From the oldest tables to the newest, with rows in them: what the first release writes and reads goes on in between."""
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    with database.begin() as tx:
        migrate_to(tx, "0001")
    revisions = sorted(file.stem[:4] for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))
    with database.engine.connect() as reader:
        accepted: list[str] = []
        for revision in revisions:
            with database.begin() as tx:
                migrate_to(tx, revision)
            new = NewJob.make("predict", "default", "predict", NOW, 4, payload=b"x")
            accepted.append(new.id)
            with database.begin() as tx:
                jobs.add(tx, [new])
                claims.claim(tx, [new.id], f"w/{revision}", "t", NOW, 30)
                ledger.finish(tx, f"w/{revision}", [Outcome(new.id, "succeeded", result=revision)], NOW)
                old_form = "INSERT INTO predictions (job_id, model, version, rows, features, artifact, created_at)"
                tx.execute(text(f"{old_form} VALUES (:id, 'default', '1', 1, x'00', NULL, {NOW})"), {"id": new.id})
            assert reader.execute(text("SELECT count(*) FROM jobs WHERE status = 'succeeded'")).scalar_one() == len(accepted)
            reader.rollback()
    with database.begin() as tx:
        assert [jobs.get_many(tx, accepted)[each].result for each in accepted] == revisions
        assert set(predictions.get_many(tx, accepted)) == set(accepted)
        predictions.log(tx, [Logged(NewJob.make("predict", "default", "p", NOW, 4).id, "default", "1", 1, b"x", None, NOW)])
    database.close()
