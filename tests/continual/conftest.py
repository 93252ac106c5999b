"""A whole stack in this process, as a client of it sees it: the real API, and workers who carry out what it queues."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from flask import Flask

from api.app import close, create_app
from continual import Client
from storage.database import Database
from tests.examples.conftest import KEY, Played
from tests.workers.conftest import NOWHERE, House

URL = "http://stack"


class Served(Played):
    """A stack that knows its app.

    Attributes:
        app: for a server.
    """

    app: Flask


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The stack, whose built-in model has learnt from 400 rows and serves; the tests of a file share it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("storage.ids._last", 0)
        yield from _stack(tmp_path_factory.mktemp("stack"))


def _stack(folder: Path) -> Iterator[Served]:
    house = House(folder, api_key=KEY)
    house.declare()
    app = create_app(house.settings, Database(house.settings.ledger_url), NOWHERE, house.clock)
    stack = Served(httpx.WSGITransport(app), house)
    stack.app = app
    with Client(URL, KEY, carrier=stack) as client:
        client.generate(samples=400, seed=1)
        client.check()
    yield stack
    close(app)
    house.room.close()


@pytest.fixture
def client(stack: Played) -> Iterator[Client]:
    """An admin's client."""
    with Client(URL, KEY, carrier=stack) as made:
        yield made
