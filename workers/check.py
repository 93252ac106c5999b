"""The check: new evidence in, decision out (docs/learning.md has the rule). At most one runs per model at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import Connection

from ml import detector as esr
from ml import detectors as port
from ml.challenger import SMALLEST_HISTORY
from ml.detector import DetectorState
from ml.detectors import Watch
from ml.estimate import Estimate, estimate
from ml.feature_drift import SMALLEST_SAMPLE, FeatureDrift, compare
from ml.metrics import losses
from ml.model_file import RefusedModel
from ml.prediction import predict
from ml.rows import Rows, take
from problems.loop import missing
from storage import champions, checks, coverage, detectors, jobs, models, trials, versions
from storage.checks import Check
from storage.detectors import Detector
from storage.ids import new_id
from storage.jobs import Job, NewJob
from storage.models import Model
from workers import history, probation, serving, shadow, trial, verdicts
from workers.coverage import Coverage, measure
from workers.lease import Claim
from workers.newest import Newest
from workers.probation import OnProbation, Worse
from workers.room import Room
from workers.run import Done, JobFailed, TryLater
from workers.shelf import Loaded
from workers.trial import Ended, OnTrial
from workers.verdicts import Verdict

WINDOW = 2_000  # newest labelled rows that the shown performance is of
RECENT = 200  # newest labelled rows that show a change at once
OVERTAKEN_TIMES = 3  # that a check is made again
ESTIMATED = 1_000  # rows that it is estimated from where there are no labels
GENERATED = {"samples": 1_000, "features": 2, "noise": 0.05, "drift": "none", "strength": 0.0, "seed": 7}


@dataclass(frozen=True, slots=True)
class Seen:
    """What a check found out.

    Attributes:
        labels: rows that this check was the first to process.
        before, after: the detector as it was read and as it is to be stored.
        loss, floor: states after the last row; the floor may be unarmed.
        probation, worse: the champion's probation, if it is on one, and the proof that it is worse than its predecessor.
        trial, ended: the challenger's trial, if there is one, and what it has come to.
        performance, recent: the metric over the newest 2,000 and 200 rows since the version began to serve; None below 100 rows.
        drifts: features against the reference; empty without 500 rows.
        estimate: what the metric would be, where no labels have come.
        coverage: how many predictions get labels, and how late.
    """

    labels: int
    before: Detector
    after: Detector
    loss: Watch
    floor: Watch | None
    probation: OnProbation | None
    worse: Worse | None
    trial: OnTrial | None
    ended: Ended | None
    performance: float | None
    recent: float | None
    drifts: list[FeatureDrift]
    estimate: Estimate | None
    coverage: Coverage


def work(room: Room, job: Job, claim: Claim) -> Done:
    """Check one model."""
    with room.db.read(one_moment=True) as tx:  # a training may end meanwhile: it was open, or its outcome is seen
        model = models.get(tx, job.model)
        if model is None:
            raise JobFailed("unknown_model", f"There is no model '{job.model}'.")
        champion = _champion(room, tx, job.model)
        if champion is None:
            return _without_champion(room, tx, job, model)
        lacks = missing(champion.problem.loop)
        if lacks:
            raise JobFailed("no_detector", f"{lacks}.")
        open_train = jobs.open_job(tx, "train", model.name)  # before the look for a trial: one becomes the other
        seen = _look(room, tx, model, champion, claim)
        verdict = _verdict(model, champion, seen, open_train)
    serves = seen.worse.predecessor.name if seen.worse else model.champion
    train = _train_job(room, job, model, verdict, serves) if verdict.reason else None
    result = _result(model, verdict, seen, train.id if train else verdict.open_train)
    return Done(
        result,
        settle=lambda tx, now: _settle(room, tx, job, model, champion, seen, verdict, train, result, now),
    )


def _verdict(model: Model, champion: Loaded, seen: Seen, open_train: str | None) -> Verdict:
    if seen.worse is not None:
        return verdicts.rolled_back(model, champion.problem.loop, seen.loss, seen.worse, open_train)
    if seen.ended is not None and seen.ended.action == "promote":
        return verdicts.replaced(seen.loss, open_train)
    tried = seen.trial is not None and seen.ended is None
    return verdicts.judge(model, champion.problem.loop, seen.loss, seen.floor, seen.drifts, open_train, tried)


def _champion(room: Room, tx: Connection, model: str) -> Loaded | None:
    try:
        return serving.champion(room, tx, model)
    except RefusedModel as refused:
        raise JobFailed("model_refused", f"No version of '{model}' can be loaded: {refused}") from refused


# ---- without a champion


def _without_champion(room: Room, tx: Connection, job: Job, model: Model) -> Done:
    """The first training, or the data for it: only the built-in model makes its own."""
    follow: list[NewJob] = []
    train = jobs.open_job(tx, "train", model.name)
    enough = model.rows >= SMALLEST_HISTORY and (model.problem.task == "regression" or len(model.classes or []) >= 2)
    rested = model.attempt_rows == 0 or model.rows - model.attempt_rows >= model.problem.loop.cooldown_rows
    if train is None and enough and rested:
        made = _train_job(room, job, model, Verdict("first", 0.0, 0.0, None, "first"), None)
        train, follow = made.id, [made]
    if model.name == "default" and model.rows == 0 and jobs.open_job(tx, "generate", model.name) is None:
        follow = [
            room.new_job(
                "generate",
                model.name,
                msgspec.json.encode(GENERATED),
                dedupe_key=f"generate:{job.id}",
            )
        ]
    decision = "first" if train else "insufficient"
    result: dict[str, Any] = {
        "model": model.name,
        "decision": decision,
        "labels_seen": 0,
        "statistic": 0.0,
        "limit": esr.limit(0),
    }
    result |= {"rows_since_change": None, "train_job": train, "rows": model.rows, "head": model.head}

    def settle(tx: Connection, now: float) -> Sequence[NewJob]:
        checks.add(tx, Check(new_id(now), job.id, model.name, now, result))
        models.change(tx, model.name, last_check_at=now)
        if follow and follow[0].kind == "train":
            reason = f"No version serves yet, and there are {model.rows:,} labelled rows."
            _record_training(tx, model.name, None, reason, follow[0], result, now)
        return follow

    return Done(result, settle=settle)


# ---- with one


def _look(room: Room, tx: Connection, model: Model, champion: Loaded, claim: Claim) -> Seen:
    """Process every row of evidence that no check has seen, in order."""
    version = champion.version
    before = detectors.get(tx, model.name, version.name) or Detector(model.name, version.name, model.head, model.head, {}, None)
    limit = _limit(tx, model, room.clock())
    loss, floor = _states(champion, before, limit)
    serves = version.name == model.champion
    tested = probation.begin(room, tx, champion, before) if serves else None
    begun = trial.begin(room, tx, champion, limit) if serves else None
    tried = begun if isinstance(begun, OnTrial) else None
    newest = Newest(max(before.start, model.head - WINDOW))
    for _, part in history.chunks(room, tx, champion.problem, before.position, model.head):
        claim.check()
        if part is not None:
            said = predict(champion.pipeline, champion.problem, part.rows)
            lost = losses(champion.problem, part.truth, said, version.reference.get("error_scale"))
            loss = loss.after(lost)
            floor = floor.after(lost) if floor else None
            tested = tested.see(part, said) if tested else None
            tried = tried.see(part, said) if tried else None
            newest = newest.see(part, said)
    after = replace(
        before,
        position=model.head,
        state=loss.to_dict(),
        floor=floor.to_dict() if floor else None,
        probation=tested.state.to_dict() if tested else None,
    )
    seen = model.head - before.position
    inputs = newest.rows if seen >= SMALLEST_SAMPLE else history.recent_inputs(tx, champion.problem, WINDOW)
    sketch = version.sketch
    measured = _performance(room, tx, champion, newest, before.position) if seen else _as_before(tx, model, version.name)
    performance, recent = measured
    return Seen(
        seen,
        before,
        after,
        loss,
        floor,
        tested,
        probation.judge(room, tx, tested, before.start, model.head),
        tried,
        begun if isinstance(begun, Ended) else trial.judge(room, tx, tried, model.head),
        performance,
        recent,
        compare(sketch, inputs) if sketch and inputs is not None else [],
        _estimate(champion, inputs) if seen == 0 or performance is None else None,
        measure(tx, model.name, room.clock()),
    )


def _limit(tx: Connection, model: Model, now: float) -> float:
    """c, for the labelled rows of the last week; where no version is as old, for a week at the rate since the first one."""
    week = model.head - checks.head_before(tx, model.name, now - esr.WEEK_S)
    first = versions.first(tx, model.name)
    if first is None or now - first.created_at >= esr.WEEK_S:
        return esr.limit(week)
    since = model.head - int(first.data["positions"][1])
    return esr.limit(max(week, esr.rows_a_week(since, now - first.created_at)))


def _states(champion: Loaded, stored: Detector, limit: float) -> tuple[Watch, Watch | None]:
    """The detector and the floor as stored, or afresh."""
    problem, version = champion.problem, champion.version
    loss = port.load(problem, stored.state, limit)
    if loss is None:
        floor = port.start_floor(problem, version.metrics["score"], limit)
        return port.start(problem, version.reference["mu0"], limit), floor
    kept = DetectorState.from_dict(stored.floor) if stored.floor else None
    return loss, kept.with_limit(2 * limit) if kept else None


def _performance(
    room: Room, tx: Connection, champion: Loaded, newest: Newest, position: int
) -> tuple[float | None, float | None]:
    """The metric over the newest WINDOW and over the newest RECENT rows: those before `position` were another check's."""
    older = history.between(room, tx, champion.problem, newest.start, position) if newest.start < position else None
    if older is not None:
        newest = newest.after(older, predict(champion.pipeline, champion.problem, older.rows))
    return newest.scores(champion.problem, RECENT) if len(newest) >= SMALLEST_HISTORY else (None, None)


def _as_before(tx: Connection, model: Model, version: str) -> tuple[float | None, float | None]:
    """Without new labels, what the last check of this version found."""
    last = checks.last(tx, model.name)
    same = last is not None and last.result.get("version") == version
    return model.performance, last.result.get("recent_performance") if last is not None and same else None


def _estimate(champion: Loaded, inputs: Rows | None) -> Estimate | None:
    """What the metric is by the champion's own confidence; a version from before there was this has no temperature."""
    t = champion.version.reference.get("temperature")
    if inputs is None or t is None:
        return None
    some = take(inputs, slice(0, ESTIMATED))
    return estimate(champion.problem.metric, predict(champion.pipeline, champion.problem, some), t)


def _train_job(room: Room, job: Job, model: Model, verdict: Verdict, serves: str | None) -> NewJob:
    """The training that a verdict asks for; the check's id in its key makes it one, however often the check is tried.

    Args:
        serves: the version that it is compared with.
    """
    asked = {
        "reason": verdict.reason,
        # by the head that the check read, for rows may have come since
        "change_position": None if verdict.rows_since_change is None else model.head - verdict.rows_since_change,
        "from_version": serves,
        "seed": model.head % 2**31,
    }
    return room.new_job("train", model.name, msgspec.json.encode(asked), dedupe_key=f"train:{job.id}")


def _result(model: Model, verdict: Verdict, seen: Seen, train: str | None) -> dict[str, Any]:
    return {
        "model": model.name,
        "decision": verdict.decision,
        "labels_seen": seen.labels,
        "statistic": verdict.statistic,
        "limit": verdict.limit,
        "rows_since_change": verdict.rows_since_change,
        "train_job": train,
        "version": seen.before.version,
        "head": model.head,
        "performance": seen.performance,
        "recent_performance": seen.recent,
        "evidence_rows": seen.loss.rows,
        "reference_mu0": seen.loss.mu0,
        "floor": None if seen.floor is None else {"statistic": seen.floor.evidence, "limit": seen.floor.limit},
        "features": [msgspec.to_builtins(each) for each in seen.drifts],
        "probation": probation.shown(seen.probation),
        "trial": trial.shown(seen.trial, seen.ended),
        "estimate": asdict(seen.estimate) if seen.estimate else None,
        "labels": seen.coverage.shown(),
        "rolled_back_to": seen.worse.predecessor.name if seen.worse else None,
    }


def _overtaken(by: str) -> TryLater:
    """Something began or ended while the check ran: it is made again, at once."""
    return TryLater(f"{by} while the check ran", 0.0, OVERTAKEN_TIMES)


def _advance(tx: Connection, current: Model, seen: Seen) -> None:
    """Where the detector and the trial stand after this check, if it looked at the champion and not at who serves in its stead.

    Raises:
        TryLater: one of them is another's by now.
    """
    if current.champion == seen.before.version:
        if detectors.get(tx, current.name, seen.before.version) is None:
            detectors.begin(tx, seen.after)
        elif not detectors.advance(tx, seen.before, seen.after):
            raise _overtaken("the detector was set afresh")
        if seen.trial is not None and not trials.advance(tx, seen.trial.after):
            raise _overtaken("the trial ended")


def _swap(
    room: Room,
    tx: Connection,
    job: Job,
    current: Model,
    seen: Seen,
    verdict: Verdict,
    train: NewJob | None,
    result: dict[str, Any],
    now: float,
) -> Sequence[NewJob]:
    """Another version serves from now on: the predecessor, or the challenger that stood its trial."""
    checks.add(tx, Check(new_id(now), job.id, current.name, now, result))
    models.change(tx, current.name, last_check_at=now)
    if seen.worse is not None and train is None:
        return probation.roll_back(room, tx, current, seen.worse, None, result, now)
    if seen.worse is not None and train is not None:
        why = verdicts.sentence(current, verdict)
        told = probation.roll_back(room, tx, current, seen.worse, why, result, now)
        models.change(tx, current.name, drifting=True)
        _record_training(tx, current.name, seen.worse.predecessor.name, why, train, result, now)
        return [train, *told]
    if seen.ended is None:
        raise ValueError("no other version to serve")
    return trial.settle(room, tx, current, seen.ended, result, result["head"], now)


def _settle(
    room: Room,
    tx: Connection,
    job: Job,
    model: Model,
    champion: Loaded,
    seen: Seen,
    verdict: Verdict,
    train: NewJob | None,
    result: dict[str, Any],
    now: float,
) -> Sequence[NewJob]:
    """Record the check, where its detector stands, and what it leads to.

    Raises:
        TryLater: what it found is of a version that serves no more, or of a detector or a trial that is over.
    """
    current = models.lock(tx, model.name)
    if current.champion != model.champion:
        raise _overtaken(f"version {current.champion} began to serve")
    coverage.keep(tx, model.name, seen.coverage.days)
    _advance(tx, current, seen)
    if seen.worse is not None or (seen.ended is not None and seen.ended.action == "promote"):
        return _swap(room, tx, job, current, seen, verdict, train, result, now)
    follow: list[NewJob] = []
    if seen.ended is not None:
        follow += trial.settle(room, tx, current, seen.ended, result, model.head, now)
    elif seen.trial is not None:
        follow += shadow.wanted(room, tx, job, seen.trial.row)
    changed: dict[str, Any] = {"last_check_at": now, "drifting": verdict.alarmed}
    if seen.performance is not None:
        changed["performance"] = seen.performance
    models.change(tx, model.name, **changed)
    checks.add(tx, Check(new_id(now), job.id, model.name, now, result))
    follow += verdicts.tell(room, tx, model, champion.problem, verdict, seen.performance, seen.drifts, seen.estimate, now)
    if train is None:
        return follow
    _record_training(tx, model.name, model.champion, verdicts.sentence(model, verdict), train, result, now)
    return [train, *follow]


def _record_training(
    tx: Connection, model: str, serves: str | None, reason: str, train: NewJob, result: dict[str, Any], now: float
) -> None:
    champions.record(tx, model, "train", None, serves, reason, now, train.id, {"by": "check", "check": result})
