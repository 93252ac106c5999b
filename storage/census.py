"""All jobs that there ever were, counted by kind, queue and status, without reading the old ones again and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select, union_all

from storage.dialects import fetch, upsert
from storage.ids import first_id, time_of
from storage.schema import census, jobs, pruned

Key = tuple[str, str, str]  # kind, queue, status
LATE_S = 60.0  # by which a job may be committed after the moment in its id, or another host's clock may be behind
MOST_S = 6 * 3600.0  # where a job is open for longer, all are counted each time: what came after it could be pruned uncounted
KEPT_EVERY_S = 600.0  # so much of it is counted anew after a start
# `|| ''` keeps SQLite from walking all ids in their order until one is open
_OLDEST = (
    "SELECT min(id || '') FROM jobs WHERE status = 'queued' UNION ALL SELECT min(id || '') FROM jobs WHERE status = 'running'"
)


@dataclass(frozen=True, slots=True)
class Count:
    """Jobs of one kind, queue and status: how many, and how often they were retried."""

    kind: str
    queue: str
    status: str
    count: int
    retries: int


@dataclass(frozen=True, slots=True)
class _Totals:
    count: Counter[Key]
    retries: Counter[Key]

    def plus(self, rows: Iterable[Any]) -> _Totals:
        count, retries = self.count.copy(), self.retries.copy()
        for kind, queue, status, number, again in rows:
            count[kind, queue, status] += int(number)
            retries[kind, queue, status] += int(again)
        return _Totals(count, retries)


@dataclass(frozen=True, slots=True)
class _Settled:
    """What is counted for good: jobs before an id, all of which have ended, and those pruned. Pruning moves one to the other."""

    until: str
    totals: _Totals


_NOTHING = _Settled("", _Totals(Counter(), Counter()))


class Census:
    """Counts all jobs; what has ended is counted once. Safe to share between threads.

    `metrics` are asked for every few seconds, and a group-by over a million jobs is 0.7 s of CPU.
    """

    def __init__(self) -> None:
        self._settled = _NOTHING
        self._kept = ""  # until where the ledger has it

    def take(self, tx: Connection, now: float) -> list[Count]:
        """All jobs, those in the ledger and those pruned from it, at `now` (epoch seconds)."""
        before, recent = self._settled if self._settled.until else _stored(tx), first_id(now - LATE_S)
        known = first_id(now - MOST_S) <= before.until <= recent
        kept = before if known else _NOTHING
        until = max(kept.until, min([recent, *(row[0] for row in fetch(tx, _OLDEST) if row[0])]))
        settled = kept.totals.plus(_counted(tx, jobs.c.id >= kept.until, jobs.c.id < until, and_pruned=not known))
        self._settled = _Settled(until, settled)
        totals = settled.plus(_counted(tx, jobs.c.id >= until))
        return [Count(*key, totals.count[key], totals.retries[key]) for key in sorted(totals.count)]

    def is_to_be_kept(self) -> bool:
        """Whether much has been counted for good that the ledger does not have as such, or what it has holds no more."""
        until, kept = self._settled.until, self._kept
        return until != kept and (not kept or until < kept or time_of(until) - time_of(kept) >= KEPT_EVERY_S)

    def keep(self, tx: Connection) -> None:
        """Have the ledger remember what is counted for good, for those who start later."""
        until, totals = self._settled.until, self._settled.totals
        rows = [(*key, totals.count[key], totals.retries[key]) for key in sorted(totals.count)]
        values = {"until": until, "totals": msgspec.json.encode(rows).decode()}
        statement = upsert(tx, census).values(id=1, **values)
        tx.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))
        self._kept = until


def _stored(tx: Connection) -> _Settled:
    row = tx.execute(select(census.c.until, census.c.totals)).first()
    return _Settled(row.until, _NOTHING.totals.plus(msgspec.json.decode(row.totals))) if row else _NOTHING


def _counted(tx: Connection, *where: ColumnElement[bool], and_pruned: bool = False) -> list[Any]:
    """Rows of kind, queue, status, count and retries; the pruned in the same statement, for pruning moves jobs to them."""
    group = (jobs.c.kind, jobs.c.queue, jobs.c.status)
    query = select(*group, func.count(), func.sum(jobs.c.failures)).where(*where).group_by(*group)
    return list(tx.execute(union_all(query, select(pruned)) if and_pruned else query).all())
