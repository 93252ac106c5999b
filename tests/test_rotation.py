"""The steps of docs/operations.md for new passwords, word for word, on real servers: both are valid, then only the new one."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from sqlalchemy import make_url, text

from storage.database import Database
from storage.migrate import migrate
from tests.postgres import throwaway_database
from tests.workers.broker import own_broker

PAGE = Path(__file__).resolve().parents[1] / "docs" / "operations.md"


def blocks(language: str) -> list[list[str]]:
    """The lines of each of the page's blocks in this language."""
    return [each.split("\n") for each in re.findall(rf"(?ms)^```{language}\n(.*?)\n```$", PAGE.read_text())]


def lets_in(url: str, password: str) -> bool:
    with redis.Redis.from_url(url, password=password) as client:
        try:
            return bool(client.ping())
        except redis.AuthenticationError:
            return False


def test_redis_knows_two_passwords_between_the_two_steps_and_keeps_who_is_connected() -> None:
    with own_broker() as url:
        operator: Any = redis.Redis.from_url(url)
        operator.config_set("requirepass", "OLD")
        worker = redis.Redis.from_url(url, password="OLD", single_connection_client=True)
        add, end = ([line.split() for line in block] for block in blocks("redis"))
        for command in add:
            operator.execute_command(*command)
        assert lets_in(url, "OLD") and lets_in(url, "NEW")
        for command in end:
            operator.execute_command(*command)
        assert not lets_in(url, "OLD") and lets_in(url, "NEW")
        assert worker.ping()  # what is still at work is not cut off
        worker.close()
        operator.close()


@pytest.fixture
def owned() -> Iterator[tuple[str, str]]:
    """A database that belongs to a role of its own, by that role's URL; and the role's name."""
    role = f"continual_{uuid.uuid4().hex[:8]}"
    with throwaway_database() as url:
        admin = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
        name = str(make_url(url).database)
        admin.execute(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'OLD'".encode())  # as compose's first role is
        admin.execute(f"ALTER DATABASE {name} OWNER TO {role}".encode())
        try:
            yield make_url(url).set(username=role).render_as_string(hide_password=False), role
        finally:
            admin.execute(f"ALTER DATABASE {name} OWNER TO CURRENT_USER".encode())
            for each in (role, f"{role}_b"):
                admin.execute(f"REASSIGN OWNED BY {each} TO CURRENT_USER".encode())
                admin.execute(f"DROP ROLE {each}".encode())
            admin.close()


@pytest.mark.postgres
def test_postgresql_lets_both_roles_work_on_the_same_tables_and_then_only_the_new_one(owned: tuple[str, str]) -> None:
    url, role = owned
    before = Database(url, pool_size=1)
    migrate(before)
    second = make_url(url).set(username=f"{role}_b").render_as_string(hide_password=False)
    add, end = blocks("sql")
    with before.begin() as tx:
        for statement in add:
            tx.execute(text(statement.replace("continual", role)))
    after = Database(second, pool_size=1)
    for database in (before, after):
        with database.begin() as tx:
            tx.execute(text("INSERT INTO tallies VALUES (:name, '', 1)"), {"name": str(id(database))})
            tx.execute(text(f"CREATE TABLE made_{id(database)} (x int)"))  # as a migration would
    with after.begin() as tx:
        for statement in end:
            tx.execute(text(statement.replace("continual", role)))
        assert tx.execute(text("SELECT count(*) FROM tallies")).scalar_one() == 2
        owners = set(tx.execute(text("SELECT tableowner FROM pg_tables WHERE tablename LIKE 'made_%'")).scalars())
    assert owners == {role}
    with before.begin() as tx:  # what is still at work is not cut off
        tx.execute(text("SELECT 1"))
    before.close()
    after.close()
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        psycopg.connect(url.replace("+psycopg", ""))
