"""Pages run in process by Streamlit's own AppTest, against the real API on a ledger of its own; no socket between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from flask import Flask
from streamlit.testing.v1 import AppTest

from continual import Client
from dashboard import stack
from settings import Settings
from tests.api.conftest import KEY, app, client, database, hand, settings, template

__all__ = ["app", "client", "database", "hand", "settings", "template"]  # the API's fixtures, used here as they are
PATIENCE_S = 120  # a busy machine
Shown = Callable[..., AppTest]


@pytest.fixture
def show(app: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shown]:
    """Draws a page: `show("now")`, with query parameters where they are given."""
    carrier = httpx.WSGITransport(app=app)
    monkeypatch.setattr(stack, "Client", lambda url, key, **more: Client(url, KEY, carrier=carrier, **more))
    monkeypatch.setattr(stack, "read", lambda: settings)
    stack.client.clear()
    stack.settings.clear()

    def draw(page: str, **query: Any) -> AppTest:
        script = f"from dashboard.views import {page}\n{page}.show()\n"
        test = AppTest.from_string(script, default_timeout=PATIENCE_S)
        for name, value in query.items():
            test.query_params[name] = value
        return test.run()

    yield draw
    stack.client.clear()
    stack.settings.clear()
