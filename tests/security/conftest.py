"""A whole stack, as `make up` starts it, to be attacked."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from benchmarks.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Up, with a first champion."""
    made = Stack(tmp_path_factory.mktemp("attacked"), PROBLEMS_DIR="", WORKER_CONCURRENCY="1", MAX_BODY_MB="32", PROXY_HOPS="1")
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def admin(stack: Stack) -> Iterator[httpx.Client]:
    """Someone with the key."""
    with stack.client() as made:
        yield made


@pytest.fixture
def stranger(stack: Stack) -> Iterator[httpx.Client]:
    """Someone without."""
    with httpx.Client(base_url=f"http://127.0.0.1:{stack.port}", timeout=30, trust_env=False) as made:
        yield made


@pytest.fixture
def unharmed(stack: Stack, admin: httpx.Client) -> Iterator[None]:
    """Afterwards every process is still the one it was, a row is answered, and no log tells of a fault nobody foresaw."""
    before, said = set(stack.mains()), stack.tracebacks()
    assert stack.logs()
    yield
    job = admin.post("/predict", json={"instances": [[0.5, -0.5]]}, headers={"Prefer": "wait=30"}).json()
    assert job["status"] == "succeeded", job
    assert set(stack.mains()) == before
    assert stack.tracebacks() == said
