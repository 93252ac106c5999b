"""Trials: the challenger of a model that won the gate and must prove itself beside the champion, at most one a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, delete, insert, select, update

from storage.schema import trials


@dataclass(frozen=True, slots=True)
class Trial:
    """A row of `trials`.

    Attributes:
        version, against: the challenger's, and the champion's that it is compared with.
        job_id: the training that made it.
        incident: the key under which people are told of it.
        start: the first position that neither of the two was trained on.
        change_position: where the drift began that it answers, if it answers one.
        standing, detector: what `ml` remembers of the comparison, and of the challenger's own loss.
        figures: what people are shown of it.
        answered, agreed: rows of traffic that it answered in shadow, and those of them that the champion answers alike.
    """

    model: str
    version: str
    against: str
    mode: Literal["shadow", "canary"]
    job_id: str
    incident: str
    began_at: float
    start: int
    change_position: int | None
    standing: Mapping[str, Any]
    detector: Mapping[str, Any]
    figures: Mapping[str, Any]
    answered: int = 0
    agreed: int = 0

    def kept(self) -> dict[str, Any]:
        """What a decision record keeps of it."""
        names = ("mode", "start", "standing", "answered", "agreed")
        return {name: getattr(self, name) for name in names}


def _of(row: Row[Any]) -> Trial:
    return Trial(*tuple(row))


def get(tx: Connection, model: str) -> Trial | None:
    """The trial of this model that is under way."""
    row = tx.execute(select(trials).where(trials.c.model == model)).first()
    return _of(row) if row else None


def challengers(tx: Connection) -> dict[str, str]:
    """The version on trial of each model that has one."""
    return {row.model: row.version for row in tx.execute(select(trials.c.model, trials.c.version))}


def begin(tx: Connection, trial: Trial) -> None:
    tx.execute(insert(trials).values(asdict(trial)))


def advance(tx: Connection, trial: Trial) -> bool:
    """Store standing, detector and figures; False if the trial is over by now."""
    moved = {"standing": dict(trial.standing), "detector": dict(trial.detector), "figures": dict(trial.figures)}
    return bool(tx.execute(update(trials).where(*_same(trial.model, trial.version)).values(moved)).rowcount)


def count(tx: Connection, model: str, version: str, answered: int, agreed: int) -> None:
    """Add rows that were answered in shadow; nothing if the trial is over by now."""
    more = {"answered": trials.c.answered + answered, "agreed": trials.c.agreed + agreed}
    tx.execute(update(trials).where(*_same(model, version)).values(more))


def end(tx: Connection, model: str, version: str | None = None) -> Trial | None:
    """The trial, which is over from now on; None if there is none (of this version)."""
    where = _same(model, version) if version else (trials.c.model == model,)
    row = tx.execute(delete(trials).where(*where).returning(trials)).first()
    return _of(row) if row else None


def _same(model: str, version: str) -> tuple[Any, ...]:
    return trials.c.model == model, trials.c.version == version
