"""Decision records: every training, promotion, rejection and rollback, with its reason and its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sqlalchemy import Connection, Row, insert, select

from storage.ids import first_id
from storage.pages import Page, page
from storage.schema import decisions

ALARMS = ("drift", "floor")  # decisions of a check
Action = Literal["train", "promote", "reject", "rollback"]


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision, `reason` in a sentence for a person, `evidence` with the figures behind it."""

    id: str
    model: str
    created_at: float
    action: Action
    version: str | None
    from_version: str | None
    reason: str
    job_id: str | None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answers_alarm(self) -> bool:
        """Whether this is the training that a drift or a fall below the floor asked for."""
        return self.action == "train" and self.evidence.get("check", {}).get("decision") in ALARMS


def _of(row: Row[Any]) -> Decision:
    return Decision(*tuple(row))


def add(tx: Connection, decision: Decision) -> None:
    tx.execute(insert(decisions).values(asdict(decision)))


def listed(tx: Connection, model: str, limit: int, cursor: str | None) -> Page[Decision]:
    """A page of the model's decisions, newest first."""
    return page(tx, select(decisions).where(decisions.c.model == model), decisions.c.id, limit, cursor, _of)


def get(tx: Connection, decision_id: str) -> Decision | None:
    row = tx.execute(select(decisions).where(decisions.c.id == decision_id)).first()
    return _of(row) if row else None


def of_job(tx: Connection, model: str, job_id: str) -> list[Decision]:
    """What was decided to start this training of a model, and at its end; oldest first."""
    query = select(decisions).where(decisions.c.model == model, decisions.c.job_id == job_id)
    return [_of(row) for row in tx.execute(query.order_by(decisions.c.id))]


def since(tx: Connection, model: str, moment: float, most: int) -> list[Decision]:
    """The newest `most` of what was decided about a model since a moment (epoch seconds), oldest first."""
    query = select(decisions).where(decisions.c.model == model, decisions.c.id >= first_id(moment))
    return [_of(row) for row in reversed(tx.execute(query.order_by(decisions.c.id.desc()).limit(most)).all())]


def newest(tx: Connection, model: str) -> Decision | None:
    """The model's last decision."""
    row = tx.execute(select(decisions).where(decisions.c.model == model).order_by(decisions.c.id.desc()).limit(1)).first()
    return _of(row) if row else None
