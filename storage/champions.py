"""Which version serves, or is on trial: promotion, rollback, and a move of the alias by hand, each with its decision record.

The ledger decides; the registry's alias follows (`alias_pending` until it has). When somebody moves the alias in
MLflow's own page, the ledger follows it instead (`adopt`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from storage import decisions, detectors, models, tallies, trials, versions
from storage.decisions import Action, Decision
from storage.detectors import Detector
from storage.ids import new_id
from storage.models import Model
from storage.trials import Trial
from storage.versions import Version


class NothingToRollBack(LookupError):
    """The model has no champion, its champion replaced nobody, or that version was pruned; the text is for a person."""


class NoTrial(LookupError):
    """The model has no challenger on trial."""


def serve(tx: Connection, name: str, version: str, start: int, on_probation: bool = True, **also: Any) -> None:
    """Let a version serve from now on: its detector starts afresh at position `start`, the cool-down begins at the history's end.

    Args:
        on_probation: whether it is compared with the version that it replaces, on rows from `start` on.
        also: further columns of the model to set.
    """
    model = models.lock(tx, name)
    values = {
        "champion": version,
        "alias_pending": True,
        "drifting": False,
        "follow_up_at": None,
        "change_position": None,
    }
    values |= {"attempt_head": model.head, "attempt_rows": model.rows}
    models.change(tx, name, **(values | also))
    probation = {"against": model.champion} if on_probation and model.champion not in (None, version) else None
    detectors.begin(tx, Detector(name, version, start, start, {}, None, probation))


def record(
    tx: Connection,
    name: str,
    action: Action,
    version: str | None,
    from_version: str | None,
    reason: str,
    now: float,
    job_id: str | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> Decision:
    """Write a decision record."""
    decision = Decision(new_id(now), name, now, action, version, from_version, reason, job_id, evidence or {})
    decisions.add(tx, decision)
    tallies.add(tx, {("decisions", name, action): 1})
    return decision


def try_out(tx: Connection, trial: Trial, reason: str, evidence: Mapping[str, Any], now: float) -> Decision:
    """Put a version that won the gate on trial: the champion serves on; a challenger that was on trial before is rejected."""
    reject(tx, trial.model, f"version {trial.version}, trained since, takes its place", {"by": "gate"}, now)
    trials.begin(tx, trial)
    models.change(tx, trial.model, alias_pending=True)
    return record(tx, trial.model, "train", trial.version, trial.against, reason, now, trial.job_id, evidence)


def reject(
    tx: Connection, name: str, why: str, evidence: Mapping[str, Any], now: float, version: str | None = None
) -> tuple[Decision, Trial] | None:
    """End the trial of a model (or only that of this version) with its challenger's rejection; None if there is none."""
    trial = trials.end(tx, name, version)
    if trial is None:
        return None
    models.change(tx, name, alias_pending=True)
    reason = f"Version {trial.version} is rejected: {why}."
    known = {**evidence, "trial": {**trial.kept(), **evidence.get("trial", {})}}
    return record(tx, name, "reject", trial.version, trial.against, reason, now, trial.job_id, known), trial


def stop_trial(tx: Connection, name: str, by: str, now: float) -> tuple[Decision, Trial]:
    """End a trial by hand.

    Raises:
        KeyError: no such model.
        NoTrial: there is none under way.
    """
    models.lock(tx, name)
    ended = reject(tx, name, f"its trial was stopped by {by}", {"by": by}, now)
    if ended is None:
        raise NoTrial(f"'{name}' has no challenger on trial")
    return ended


def roll_back(tx: Connection, name: str, by: str, now: float) -> Decision:
    """Let the version serve again that the champion replaced; labels from before start no training.

    Raises:
        KeyError: no such model.
        NothingToRollBack: there is no earlier version.
    """
    model = models.lock(tx, name)
    champion = versions.get(tx, name, model.champion) if model.champion else None
    previous = versions.get(tx, name, champion.promoted_from) if champion and champion.promoted_from else None
    if champion is None or previous is None:
        raise NothingToRollBack(f"'{name}' has no version before {model.champion or 'its first'} to roll back to")
    if previous.pruned_at is not None:
        raise NothingToRollBack(_pruned(tx, previous))
    reason = f"Rolled back from version {champion.name} to {previous.name} by {by}."
    return go_back(tx, model, previous, reason, {"by": by}, now)


def _pruned(tx: Connection, version: Version) -> str:
    """Why a version cannot serve again, and what can be had of it."""
    made = decisions.of_job(tx, version.model, version.job_id)
    again = f"; `continual reproduce {made[-1].id}` trains it again from its record" if made else ""
    return f"Version {version.name} of '{version.model}' cannot serve again: its file was pruned after RETENTION_DAYS{again}"


def go_back(tx: Connection, model: Model, previous: Version, reason: str, evidence: Mapping[str, Any], now: float) -> Decision:
    """Let an earlier version serve again, without a probation: whether the one before it was better has been decided.

    Args:
        model: as it stands, locked.
    """
    also = {"performance": previous.metrics.get("score"), "classes": previous.classes}
    reject(tx, model.name, f"version {model.champion}, which it was compared with, serves no more", {"by": evidence["by"]}, now)
    serve(tx, model.name, previous.name, model.head, on_probation=False, **also)
    known = {"head": model.head, **evidence}
    return record(tx, model.name, "rollback", previous.name, model.champion, reason, now, evidence=known)


def adopt(tx: Connection, name: str, version: str, now: float) -> Decision | None:
    """Follow an alias that somebody moved in the registry; None if the ledger does not know that version, or it was pruned."""
    model = models.lock(tx, name)
    known = versions.get(tx, name, version)
    if known is None or known.pruned_at is not None or model.alias_pending or model.champion == version:
        return None
    tried = trials.end(tx, name, version)  # a challenger that a person promotes needs no further trial
    other = reject(tx, name, f"version {model.champion}, which it was compared with, serves no more", {"by": "registry"}, now)
    also: dict[str, Any] = {"performance": known.metrics.get("score"), "classes": known.classes}
    also["alias_pending"] = tried is not None or other is not None  # the challenger's is
    serve(tx, name, version, model.head, **also)
    reason = f"The alias 'champion' was moved from version {model.champion} to {version} in the model registry."
    evidence = {"by": "registry", "head": model.head} | ({"trial": tried.kept()} if tried else {})
    return record(tx, name, "promote", version, model.champion, reason, now, evidence=evidence)
