"""Versions of a model: what was promoted, on which data, with which hash, and in place of which other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select

from storage.pages import Page, page
from storage.schema import versions

RECALLABLE: Final = 10  # of the newest versions, the champion aside, may serve again where a problem says `recall = true`


@dataclass(frozen=True, slots=True)
class Version:
    """A row of `versions`; `number` is MLflow's, `artifact` the skops file whose SHA-256 is checked at each load.

    `pruned_at`: since then its file is no longer kept, and it can serve no more; `gone_at`: nothing of it is left but the row.
    """

    model: str
    number: int
    job_id: str
    created_at: float
    artifact: str
    sha256: str
    metrics: Mapping[str, Any]
    data: Mapping[str, Any]
    promoted_from: str | None
    reference: Mapping[str, Any]
    sketch: Mapping[str, Any]
    classes: list[Any] | None
    pruned_at: float | None = None
    gone_at: float | None = None

    @property
    def name(self) -> str:
        """The version as clients see it."""
        return str(self.number)


def _of(row: Row[Any]) -> Version:
    return Version(*tuple(row))


def add(tx: Connection, version: Version) -> None:
    tx.execute(insert(versions).values({name: getattr(version, name) for name in Version.__slots__}))


def get(tx: Connection, model: str, version: str) -> Version | None:
    """The version, or None if the ledger does not know it (or it is not a number)."""
    if not version.isdecimal():
        return None
    row = tx.execute(select(versions).where(versions.c.model == model, versions.c.number == int(version))).first()
    return _of(row) if row else None


def any_yet(tx: Connection) -> bool:
    """Whether anything was ever promoted or tried, pruned or not."""
    return tx.execute(select(versions.c.number).limit(1)).first() is not None


def first(tx: Connection, model: str) -> Version | None:
    """The model's oldest version. One step in an index."""
    row = tx.execute(select(versions).where(versions.c.model == model).order_by(versions.c.number).limit(1)).first()
    return _of(row) if row else None


def listed(tx: Connection, model: str, limit: int, cursor: str | None) -> Page[Version]:
    """A page of the model's versions, newest first."""
    return page(tx, select(versions).where(versions.c.model == model), versions.c.number, limit, cursor, _of)
