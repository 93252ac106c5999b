"""Files that nothing in the ledger refers to: what a killed process wrote for an attempt that another one finished.

Bodies, results and datasets lie in folders named by their job, models in files that begin with it; ids tell the time, so
that only what is older than RETENTION_DAYS is looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, Table, select

from storage.artifacts import Artifacts
from storage.dialects import among
from storage.ids import first_id
from storage.schema import datasets, jobs, predictions, versions

OF_JOBS: Final = ("bodies", "results", "datasets")
ID: Final = 36  # characters
AT_ONCE: Final = 500


def find(tx: Connection, artifacts: Artifacts, before: float) -> list[str]:
    """The artifacts (files, or whole folders) from before a moment that no job, prediction, dataset or version needs."""
    oldest = first_id(before)
    found: list[str] = []
    for kind in OF_JOBS:
        old = sorted(name for name in _names(artifacts, kind) if name[:ID] < oldest)
        for start in range(0, len(old), AT_ONCE):
            part = old[start : start + AT_ONCE]
            needed = _known(tx, jobs, "id", part) | _known(tx, predictions, "job_id", part) | _known(tx, datasets, "job_id", part)
            found += [f"{kind}/{name}" for name in part if name[:ID] not in needed]
    of_models = _files(tx, artifacts, "models", versions, oldest, versions.c.gone_at.is_(None))
    return found + _files(tx, artifacts, "datasets", datasets, oldest) + of_models


def _known(tx: Connection, table: Table, column: str, names: Sequence[str]) -> set[str]:
    return set(tx.execute(select(table.c[column]).where(among(tx, table.c[column], [name[:ID] for name in names]))).scalars())


def _files(tx: Connection, artifacts: Artifacts, kind: str, table: Table, oldest: str, *needed: ColumnElement[bool]) -> list[str]:
    """Files two levels deep whose job is old and that no row needs (all do, but for `needed`): of attempts that did not end."""
    found = []
    for folder in _names(artifacts, kind):
        names = [name for name in _names(artifacts, f"{kind}/{folder}") if (folder if kind == "datasets" else name)[:ID] < oldest]
        paths = [f"{kind}/{folder}/{name}" for name in names]
        named = select(table.c.artifact).where(among(tx, table.c.artifact, paths), *needed)
        kept = set(tx.execute(named).scalars()) if paths else set()
        found += [path for path in paths if path not in kept]
    return found


def _names(artifacts: Artifacts, kind: str) -> Iterator[str]:
    path = artifacts.path(kind)
    if path.is_dir():
        with os.scandir(path) as entries:
            yield from (entry.name for entry in entries)
