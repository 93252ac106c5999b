"""What /metrics says of the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from api.counted import Facts, families
from api.errors import log
from jobs.kinds import KINDS, QUEUES
from storage import checks, heartbeats, ledger, models, tallies
from storage.census import Census, Count
from storage.checks import Check
from storage.database import FAULTS, Database
from storage.heartbeats import FORGET_S, SILENT_S
from storage.models import Model
from telemetry.metrics import JobCount, ModelState, QueueState, Snapshot, TaskTotals, WorkerState


def snapshot(database: Database, census: Census, now: float, interval_s: float, free_bytes: int) -> Snapshot:
    """The ledger at `now` (epoch seconds); see `Facts` for the others."""
    with database.read() as tx:
        counted_jobs, waiting, owners = census.take(tx, now), ledger.backlog(tx), ledger.owners(tx)
        signs, counted = heartbeats.seen(tx, now - FORGET_S), tallies.read(tx)
        known = [(model, checks.last(tx, model.name)) for model in models.every(tx)]
    if census.is_to_be_kept():
        _keep(database, census)
    return Snapshot(
        jobs=tuple(JobCount(each.kind, each.queue, each.status, each.count) for each in counted_jobs),
        totals=tuple(_totals(kind, counted_jobs) for kind in KINDS),
        queues=tuple(_queue(name, *waiting.get(name, (0, now)), now) for name in QUEUES),
        workers=tuple(
            WorkerState(sign.name, sign.seen_at > now - SILENT_S, sum(owner.startswith(sign.name) for owner in owners))
            for sign in signs
            if sign.component == "worker"
        ),
        models=tuple(_model(model, check) for model, check in known),
        further=families(Facts(counted, signs, now, known, interval_s, free_bytes)),
    )


def _keep(database: Database, census: Census) -> None:
    """Where the ledger cannot be written, on a full disk say, its state has to be shown all the more."""
    try:
        with database.singly() as tx:
            census.keep(tx)
    except FAULTS as fault:
        log.warning(
            "what was counted for /metrics could not be kept, and is counted anew after a start: %s", type(fault).__name__
        )


def _totals(kind: str, counts: Sequence[Count]) -> TaskTotals:
    mine = [each for each in counts if each.kind == kind]

    def count(*statuses: str) -> int:
        return sum(each.count for each in mine if each.status in statuses)

    sent, retried = sum(each.count for each in mine), sum(each.retries for each in mine)
    return TaskTotals(kind, sent, count("succeeded"), count("failed", "dead"), retried)


def _queue(name: str, length: int, oldest: float, now: float) -> QueueState:
    return QueueState(name, length, max(0.0, now - oldest))


def _model(model: Model, check: Check | None) -> ModelState:
    state = "no_model" if model.champion is None else "drifting" if model.drifting else "healthy"
    found = check.result if check is not None else {}
    threshold = float(model.declared["threshold"])
    statistic, limit = found.get("statistic"), found.get("limit")
    labels = found.get("labels") or {}
    late = labels.get("delay_s") or {}
    delays = tuple((quantile, late[name]) for name, quantile in (("p50", "0.5"), ("p90", "0.9")) if name in late)
    shown = (model.performance, threshold, statistic, limit, labels.get("coverage"), delays)
    return ModelState(model.name, model.champion, state, *shown)
