"""From a detector's state to a decision, and to the words in which people and records are told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import Connection

from ml.challenger import SMALLEST_HISTORY, Reason, is_grown
from ml.detectors import Watch
from ml.estimate import Estimate
from ml.feature_drift import FeatureDrift
from ml.metrics import figure
from problems.declaration import Problem
from problems.loop import Loop
from storage.incidents import of_drift
from storage.jobs import NewJob
from storage.models import Model
from workers.digest import all_is_well
from workers.incidents import tell as tell_people
from workers.incidents import told_before
from workers.probation import Worse
from workers.room import Room

Decision = Literal["ok", "warning", "drift", "floor", "growth", "first", "cooldown", "insufficient"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check decided.

    Attributes:
        statistic, limit: the detector's, at its alarm if there was one.
        rows_since_change: rows from the change that the alarm dates to the end of history.
        reason: why to train now, or None.
        open_train: a training that is under way already.
        alarmed: whether the champion's loss has proved to be worse.
        why: what the alarm says, in words.
    """

    decision: Decision
    statistic: float
    limit: float
    rows_since_change: int | None
    reason: Reason | None = None
    open_train: str | None = None
    alarmed: bool = False
    why: str = ""


def judge(
    model: Model,
    loop: Loop,
    loss: Watch,
    floor: Watch | None,
    drifts: Sequence[FeatureDrift],
    open_train: str | None,
    tried: bool = False,
) -> Verdict:
    """The rule of docs/learning.md, steps 3 to 9, on states that have processed all evidence.

    Args:
        tried: whether a challenger is on trial: it is the answer to whatever is found, and nothing else is trained.
    """
    rested = is_rested(model, loop)
    free = open_train is None and rested and not tried
    if loss.alarm:
        return _alarm("drift", loss, rested, open_train, free)
    if floor is not None and floor.alarm:
        return _alarm("floor", floor, rested, open_train, free)
    calm = (loss.evidence, loss.limit)
    if free and model.follow_up_at is not None and model.head >= model.follow_up_at:
        since = None if model.change_position is None else model.head - model.change_position
        return Verdict("growth", *calm, since, "follow_up")
    if free and is_grown(model.rows, model.attempt_rows):
        return Verdict("growth", *calm, None, "growth")
    if any(each.drifted for each in drifts):
        return Verdict("warning", *calm, None, open_train=open_train)
    decision: Decision = "ok" if loss.rows >= SMALLEST_HISTORY else "insufficient"
    return Verdict(decision, *calm, None, open_train=open_train)


def is_rested(model: Model, loop: Loop) -> bool:
    """Whether enough labelled rows have come since the last attempt to train."""
    return model.head - model.attempt_head >= loop.cooldown_rows


def rolled_back(model: Model, loop: Loop, loss: Watch, worse: Worse, open_train: str | None) -> Verdict:
    """The champion loses its probation, and its predecessor serves again. Whether that is enough is two questions:

    an alarm over the champion says that something has changed since its promotion, and a predecessor whose own loss on the
    same rows is above its reference does not fit what came either. If both hold, a training starts at once.
    """
    if loss.alarm and not worse.fits and open_train is None and is_rested(model, loop):
        return replace(_alarm("drift", loss, rested=True, open_train=None, free=True), why=f"{loss.why}, and {worse.misfit}")
    return Verdict("warning", loss.evidence, loss.limit, None, open_train=open_train)


def replaced(loss: Watch, open_train: str | None) -> Verdict:
    """The challenger stood its trial and serves from now on: whatever its predecessor's loss says is answered."""
    return Verdict("ok", loss.evidence, loss.limit, None, open_train=open_train)


def _alarm(decision: Literal["drift", "floor"], state: Watch, rested: bool, open_train: str | None, free: bool) -> Verdict:
    """An alarm stays until a training has answered it; cool-down counts labelled rows since the last attempt."""
    alarm = state.alarm
    if alarm is None:
        raise ValueError("no alarm to judge")
    since = alarm.rows_since_change + state.rows - 1 - alarm.row
    if open_train is None and not rested:
        return Verdict("cooldown", alarm.statistic, state.limit, since, alarmed=True)
    reason: Reason | None = decision if free else None
    floor = f"its accuracy is below the threshold: evidence {alarm.statistic:,.0f} ≥ {state.limit:,.0f}"
    why = state.why if decision == "drift" else floor
    return Verdict(decision, alarm.statistic, state.limit, since, reason, open_train, alarmed=True, why=why)


def sentence(model: Model, verdict: Verdict) -> str:
    """Why a training was started."""
    if verdict.reason in ("drift", "floor"):
        return f"Version {model.champion}: {verdict.why}; the change began near {verdict.rows_since_change:,} rows ago."
    if verdict.reason == "follow_up":
        return f"A second look after the last drift, now that {verdict.rows_since_change or 0:,} rows have come since it began."
    return f"There are {model.rows:,} labelled rows, 1.5 times the {model.attempt_rows:,} of the last attempt."


def tell(
    room: Room,
    tx: Connection,
    model: Model,
    problem: Problem,
    verdict: Verdict,
    performance: float | None,
    drifts: Sequence[FeatureDrift],
    estimate: Estimate | None,
    now: float,
) -> list[NewJob]:
    """Tell people of a drift, of moved features, or (each check if asked for, else once a day) that all is well."""
    shown = "not known yet" if performance is None else figure(performance)
    if verdict.alarmed:
        if verdict.reason is None:
            return []
        title = f"Drift in {model.name}, retraining"
        line = f"alarm: {sentence(model, verdict)} {problem.metric} {shown}"
        return [tell_people(room, tx, of_drift(model.name), "drift", "retraining", title, [line], now, model.name)]
    if verdict.decision == "warning":
        return _warn(room, tx, model, drifts, estimate, now)
    if verdict.decision not in ("ok", "insufficient") or performance is None:
        return []
    return all_is_well(room, tx, model, problem, performance, now)


def _warn(
    room: Room, tx: Connection, model: Model, drifts: Sequence[FeatureDrift], estimate: Estimate | None, now: float
) -> list[NewJob]:
    """Moved features: once per version. They start no training; without labels nobody can say whether they matter."""
    key = f"features:{model.name}:{model.champion}"
    if told_before(tx, key):
        return []
    moved = ", ".join(f"{each.feature} (D {each.distance:.2f}, PSI {each.psi:.2f})" for each in drifts if each.drifted)
    title = f"Inputs of {model.name} have moved"
    lines = [f"{moved}. This starts no retraining: only labels show whether predictions suffer."]
    if estimate:
        lines.append(f"by the model's own confidence {estimate.metric} is {figure(estimate.value)} now, {estimate.condition}")
    return [tell_people(room, tx, key, "warning", "told", title, lines, now, model.name)]
