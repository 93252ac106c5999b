"""A database of our own on the tests' PostgreSQL server, dropped at the end."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError

DEFAULT = "postgresql://postgres@127.0.0.1:5432/test"


@contextmanager
def throwaway_database() -> Iterator[str]:
    """The URL of an empty database. Where no server answers the test is skipped, and under CI=true it fails."""
    given = make_url(os.environ.get("TEST_POSTGRES_URL", DEFAULT)).set(drivername="postgresql+psycopg")
    server = create_engine(given, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3})
    name = f"continual_{uuid.uuid4().hex[:12]}"
    try:
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except OperationalError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip("no PostgreSQL at TEST_POSTGRES_URL")
    try:
        yield given.set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()
