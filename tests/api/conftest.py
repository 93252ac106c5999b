"""An API on a ledger of its own, with a model of two numbers that has a champion; no broker unless a test asks for one."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import close, create_app
from api.inspecting import Inspector
from settings import Settings
from storage import models
from storage.artifacts import Artifacts
from storage.database import Database
from storage.migrate import migrate
from tests.api.hand import PLANE, Hand, promote

KEY = "a-key-for-tests-only"
NOBODY_THERE = "redis://127.0.0.1:1/0"
Ask = Callable[..., TestResponse]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated ledger, to be copied."""
    file = tmp_path_factory.mktemp("ledger") / "ledger.db"
    database = Database(f"sqlite:///{file}")
    migrate(database)
    with database.begin() as tx:
        models.declare(tx, "plane", PLANE, "declared", 1.0)
        models.declare(tx, "empty", PLANE, "declared", 1.0)
    promote(database, "plane", 1)
    database.close()  # the last one to leave folds the write-ahead log into the file
    return file


@pytest.fixture
def settings(tmp_path: Path, template: Path) -> Settings:
    """Settings of a fresh DATA_DIR that holds the ledger."""
    (tmp_path / "ledger.db").write_bytes(template.read_bytes())
    chosen = {"data_dir": tmp_path, "api_key": KEY, "max_body_mb": 1, "check_interval_seconds": 30.0}
    return Settings.model_validate(chosen)


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    """The app, in process."""
    made = create_app(settings, Database(settings.ledger_url), NOBODY_THERE)
    yield made
    close(made)


@pytest.fixture
def database(app: Flask) -> Database:
    """The app's ledger."""
    found: Database = app.extensions["house"].database
    return found


@pytest.fixture
def hand(app: Flask, database: Database) -> Hand:
    """A worker's hand."""
    artifacts: Artifacts = app.extensions["house"].artifacts
    return Hand(database, artifacts)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Anyone: no token."""
    return app.test_client()


@pytest.fixture
def ask(client: FlaskClient) -> Ask:
    """An admin's requests: `ask("GET", "/jobs")`."""

    def send(method: str, path: str, **more: object) -> TestResponse:
        headers = {"Authorization": f"Bearer {KEY}", **more.pop("headers", {})}  # type: ignore[dict-item]
        return client.open(path, method=method, headers=headers, **more)  # type: ignore[arg-type]

    return send


@pytest.fixture
def believing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the child process that imports scikit-learn: it has nothing against any estimator."""
    monkeypatch.setattr(Inspector, "faults", lambda *_: [])


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
