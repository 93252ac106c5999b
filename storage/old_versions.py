"""Versions whose files are no longer kept. Marked first, in the transaction that finds nobody needs them, so that nobody picks
one whose files are about to go; a second mark says that they are gone. The row stays: its decision record reads on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, text, update

from storage import detectors, jobs, models, trials, versions
from storage.ids import first_id
from storage.models import Model
from storage.schema import ENDED_BADLY, OTHER_KINDS, decisions
from storage.schema import jobs as rows
from storage.schema import versions as table
from storage.versions import RECALLABLE

NEWEST = RECALLABLE + 1  # of each model stay: those that may be recalled, and the one among them that may be champion


@dataclass(frozen=True, slots=True)
class Leaving:
    """A version that is marked and whose files are perhaps still there."""

    model: str
    number: int
    artifact: str

    @property
    def name(self) -> str:
        """The version as clients see it."""
        return str(self.number)


def candidates(tx: Connection, before: float) -> list[str]:
    """Models with a version from before a moment (epoch seconds) that is not marked. One step in an index for each model."""
    return [name for name in models.names(tx) if _old(tx, name, before, 1)]


def mark(tx: Connection, name: str, before: float, now: float, most: int) -> list[str]:
    """Mark up to `most` versions of a model that nobody needs, oldest first; from then on none of them can serve.

    The model's row is locked: whoever lets a version serve or puts it on trial locks it too.

    Returns the versions that were marked.

    Raises:
        KeyError: there is no such model.
    """
    model = models.lock(tx, name)
    old = _old(tx, name, before, None)
    if not old or _has_old_jobs(tx, name, before):
        return []
    needed = _in_use(tx, model) | _decided_since(tx, name, before) | _newest(tx, name)
    unneeded = [number for number in old if str(number) not in needed][:most]
    if unneeded:
        these = (table.c.model == name, table.c.number.in_(unneeded))
        tx.execute(update(table).where(*these).values(pruned_at=now))
    return [str(number) for number in unneeded]


def leaving(tx: Connection, most: int) -> list[Leaving]:
    """Up to `most` versions that are marked and not yet said to be gone."""
    query = select(table.c.model, table.c.number, table.c.artifact).where(
        table.c.pruned_at.is_not(None), table.c.gone_at.is_(None)
    )
    return [Leaving(*row) for row in tx.execute(query.order_by(table.c.model, table.c.number).limit(most))]


def fruitless(tx: Connection, since: float, until: float) -> list[tuple[str, str]]:
    """(model, job id) of trainings from since a moment that ended before another one, badly, and without a version."""
    made = select(table.c.number).where(table.c.job_id == rows.c.id)
    query = select(rows.c.model, rows.c.id).where(
        rows.c.kind == "train",
        text(OTHER_KINDS),
        rows.c.id >= first_id(since),
        text(ENDED_BADLY),
        rows.c.finished_at < until,
        ~made.exists(),
    )
    return [(model, job) for model, job in tx.execute(query.order_by(rows.c.id))]


def gone(tx: Connection, version: Leaving, now: float) -> None:
    """Its files are gone, here and in the registry."""
    this = (table.c.model == version.model, table.c.number == version.number)
    tx.execute(update(table).where(*this).values(gone_at=now))


def _old(tx: Connection, name: str, before: float, most: int | None) -> Sequence[int]:
    """Versions that are not marked, made before a moment; oldest first."""
    query = select(table.c.number).where(table.c.model == name, table.c.created_at < before, table.c.pruned_at.is_(None))
    return tx.execute(query.order_by(table.c.created_at, table.c.number).limit(most)).scalars().all()


def _has_old_jobs(tx: Connection, name: str, before: float) -> bool:
    """Whether a job from before that moment is still open: it goes on with the version that it began with."""
    oldest = jobs.open_job(tx, None, name)
    return oldest is not None and oldest < first_id(before)


def _in_use(tx: Connection, model: Model) -> set[str | None]:
    """Who serves, whom a rollback by hand or by probation goes back to, and both sides of a trial."""
    champion = versions.get(tx, model.name, model.champion) if model.champion else None
    if champion is None:
        return set()
    detector, trial = detectors.get(tx, model.name, champion.name), trials.get(tx, model.name)
    against = detector.probation["against"] if detector and detector.probation else None
    tried = {trial.version, trial.against} if trial else set()
    return {champion.name, champion.promoted_from, against, *tried}


def _decided_since(tx: Connection, name: str, moment: float) -> set[str | None]:
    """Versions of which anything was decided since: one that stopped serving is the `from_version` of what replaced it."""
    since = (decisions.c.model == name, decisions.c.id >= first_id(moment))
    rows = tx.execute(select(decisions.c.version, decisions.c.from_version).where(*since).distinct())
    return {version for row in rows for version in row}


def _newest(tx: Connection, name: str) -> set[str]:
    query = select(table.c.number).where(table.c.model == name).order_by(table.c.number.desc()).limit(NEWEST)
    return {str(number) for number in tx.execute(query).scalars()}
