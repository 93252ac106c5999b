"""Incidents: what people are told. One incident is one message, edited as the incident moves on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, insert, select, update

from storage.ids import new_id
from storage.pages import Page, page
from storage.schema import incidents

State = Literal["opened", "retraining", "resolved", "told"]
OPEN: tuple[State, ...] = ("opened", "retraining")


@dataclass(frozen=True, slots=True)
class Incident:
    """A row of `incidents`; `kind` is the notification's kind, `lines` its timeline, oldest first."""

    id: str
    key: str
    model: str | None
    kind: str
    state: State
    title: str
    lines: list[str]
    message_id: str | None
    sent_revision: int
    revision: int
    opened_at: float
    updated_at: float


def _of(row: Row[Any]) -> Incident:
    return Incident(*tuple(row))


def get(tx: Connection, incident_id: str) -> Incident | None:
    row = tx.execute(select(incidents).where(incidents.c.id == incident_id)).first()
    return _of(row) if row else None


def listed(tx: Connection, limit: int, cursor: str | None) -> Page[Incident]:
    """A page of incidents, newest first."""
    return page(tx, select(incidents), incidents.c.id, limit, cursor, _of)


def find_open(tx: Connection, key: str) -> Incident | None:
    """The incident of this key that is not over yet."""
    query = select(incidents).where(incidents.c.key == key, incidents.c.state.in_(OPEN)).with_for_update()
    row = tx.execute(query).first()
    return _of(row) if row else None


def find_over(tx: Connection, key: str, since: float) -> Incident | None:
    """The newest incident of this key that was resolved after `since`."""
    query = select(incidents).where(incidents.c.key == key, incidents.c.state == "resolved", incidents.c.updated_at > since)
    row = tx.execute(query.order_by(incidents.c.id.desc()).limit(1).with_for_update()).first()
    return _of(row) if row else None


def of_drift(model: str) -> str:
    """The key of the incident that a drift of this model is."""
    return f"drift:{model}"


def open_of(tx: Connection, model: str) -> list[str]:
    """The keys of what is open of a model, oldest first: it is over when another version serves."""
    query = select(incidents.c.key).where(incidents.c.state.in_(OPEN), incidents.c.model == model)
    return list(tx.execute(query.order_by(incidents.c.id)).scalars())


def where_to_tell(tx: Connection, model: str, otherwise: str) -> list[tuple[str, State]]:
    """Where to tell that a person has another version serve: in all that is over with it, or under a key of its own."""
    return [(key, "resolved") for key in open_of(tx, model)] or [(otherwise, "told")]


def tell(
    tx: Connection,
    key: str,
    model: str | None,
    kind: str,
    state: State,
    title: str,
    lines: Sequence[str],
    now: float,
    rest_s: float = 0.0,
) -> str:
    """Open an incident, or move the open one of this key on: its lines are added to the timeline. Returns its id.

    Args:
        rest_s: one that was resolved less than so many seconds ago opens again, instead of a new one.
    """
    known = find_open(tx, key) or (find_over(tx, key, now - rest_s) if rest_s else None)
    if known is None:
        values = {"id": new_id(now), "key": key, "model": model, "opened_at": now, "lines": list(lines)}
        tx.execute(insert(incidents).values(**values, kind=kind, state=state, title=title, updated_at=now))
        return str(values["id"])
    timeline = [*known.lines, *lines][-30:]
    statement = update(incidents).where(incidents.c.id == known.id)
    moved = {"kind": kind, "state": state, "title": title, "lines": timeline, "updated_at": now}
    tx.execute(statement.values(**moved, revision=incidents.c.revision + 1))
    return known.id


def sent(tx: Connection, incident_id: str, message_id: str | None, revision: int) -> None:
    """Note that people have been told of the incident up to this revision."""
    statement = update(incidents).where(incidents.c.id == incident_id)
    tx.execute(statement.values(message_id=message_id, sent_revision=revision))
