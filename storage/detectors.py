"""Detector state per model version, so that each labelled row is processed once, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from storage.schema import detectors


@dataclass(frozen=True, slots=True)
class Detector:
    """`start`: first position that is evidence for this version; `position`: next row to process.

    `probation`: the comparison with the version that it replaced, on the same rows; None where there is none any more.
    """

    model: str
    version: str
    start: int
    position: int
    state: Mapping[str, Any]
    floor: Mapping[str, Any] | None
    probation: Mapping[str, Any] | None = None


def get(tx: Connection, model: str, version: str) -> Detector | None:
    query = select(detectors).where(detectors.c.model == model, detectors.c.version == version)
    row = tx.execute(query).first()
    return Detector(*row) if row else None


def begin(tx: Connection, detector: Detector) -> None:
    """Start a version's detector afresh."""
    gone = delete(detectors).where(detectors.c.model == detector.model, detectors.c.version == detector.version)
    tx.execute(gone)
    tx.execute(insert(detectors).values(asdict(detector)))


def advance(tx: Connection, before: Detector, after: Detector) -> bool:
    """Store the state after processing rows; False if another check has moved it meanwhile."""
    statement = (
        update(detectors)
        .where(
            detectors.c.model == before.model,
            detectors.c.version == before.version,
            detectors.c.start == before.start,
            detectors.c.position == before.position,
        )
        .values(position=after.position, state=dict(after.state), floor=after.floor, probation=after.probation)
    )
    return bool(tx.execute(statement).rowcount)
