"""Whoever may write to the models' folders still makes no model: the ledger knows each file by its SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks import processes
from benchmarks.stack import Stack, until
from ml.model_file import dump, load

pytestmark = pytest.mark.attack
ROW = [[3.0, 3.0]]


def restart(stack: Stack) -> None:
    """The process that predicts comes back without a model in memory."""
    before = set(stack.mains("predict"))
    processes.kill(before)
    until(lambda: set(stack.mains("predict")) - before, 60, "a worker comes back")


def answered(client: httpx.Client, wait_s: int) -> Any:
    """The job of one row."""
    return client.post("/predict", json={"instances": ROW}, headers={"Prefer": f"wait={wait_s}"}).json()


def put(file: Path, content: bytes) -> None:
    """In place of what was there, with its mode."""
    mode = file.stat().st_mode
    file.chmod(0o600)
    file.write_bytes(content)
    file.chmod(mode)


@pytest.fixture
def files(stack: Stack) -> Iterator[list[Path]]:
    """Every copy of every version's file, ours first; at the end they are as they were."""
    found = [*(stack.data / "artifacts" / "models").rglob("*.skops"), *(stack.data / "mlflow").rglob("*.skops")]
    kept = {file: file.read_bytes() for file in found}
    yield found
    for file, content in kept.items():
        put(file, content)
    restart(stack)


def turned(file: Path, scratch: Path) -> bytes:
    """The model in this file, saying the opposite: one that would load and answer."""
    model = load(file, hashlib.sha256(file.read_bytes()).hexdigest())
    model[-1].coef_, model[-1].intercept_ = -model[-1].coef_, -model[-1].intercept_
    dump(model, scratch)
    return scratch.read_bytes()


def test_a_model_that_was_put_in_place_of_another_never_answers(
    stack: Stack, admin: httpx.Client, files: list[Path], tmp_path: Path
) -> None:
    """Where our copy alone was swapped the registry's answers; where both were, nobody does."""
    true = answered(admin, 30)["result"]["predictions"][0]["label"]
    ours = [file for file in files if stack.data / "artifacts" in file.parents]
    assert 0 < len(ours) < len(files)
    evil = turned(ours[-1], tmp_path / "evil")
    for file in ours:
        put(file, evil)
    restart(stack)
    assert answered(admin, 60)["result"]["predictions"][0]["label"] == true
    for file in files:
        put(file, evil)
    restart(stack)
    assert answered(admin, 15)["status"] in ("queued", "running", "failed")
