"""What follows from a training: a promotion, a trial or a rejection, its record, people told, all in the finish transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection

from ml.challenger import Training, next_follow_up
from ml.leakage import Suspect
from ml.metrics import figure
from ml.trial import Standing
from problems.declaration import Problem
from storage import champions, jobs, models, trials, versions
from storage.incidents import of_drift
from storage.jobs import Job, NewJob
from storage.models import Model
from storage.trials import Trial
from storage.versions import Version
from workers import trial
from workers.attempts import attempted
from workers.incidents import over, tell
from workers.room import Room
from workers.run import JobFailed

AFTER_A_CHANGE = ("drift", "floor", "follow_up")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to train: `model` as it was read at the start, `since` the rows from the change to its head then.

    `leaks`: features that all but determine the label in the rows it learnt.
    """

    room: Room
    job: Job
    model: Model
    problem: Problem
    made: Training
    lineage: dict[str, Any]
    since: int | None
    leaks: Sequence[Suspect] = ()

    @property
    def doubt(self) -> str:
        """What to say beside the gate's figures where a feature may be the label under another name."""
        names = "; ".join(map(str, self.leaks))
        return f" Its figures may be too good to be true: {names}." if names else ""

    @property
    def mends(self) -> bool:
        """Whether it answers an alarm."""
        return self.made.reason in ("drift", "floor")

    @property
    def is_tried(self) -> bool:
        """Whether a winner is put on trial first: where the problem wants that, and there is a champion to compare it with."""
        return self.problem.loop.trial is not None and self.model.champion is not None

    @property
    def incident(self) -> str:
        """The incident it belongs to: that of the drift, or one of its own."""
        return of_drift(self.model.name) if self.mends else f"training:{self.job.id}"

    @property
    def compared(self) -> str:
        """The gate's figures in words."""
        made = self.made
        before = "" if made.champion_score is None else f" against {figure(made.champion_score)}"
        rows = f"on {made.holdout_rows:,} held-out rows ({made.window}, {made.rows:,} rows)"
        return f"{self.problem.metric} {figure(made.challenger_score)}{before} {rows}"

    def evidence(self) -> dict[str, Any]:
        """What a decision record keeps of it."""
        made = self.made
        return {
            "by": "gate",
            "reason": made.reason,
            "candidates": [asdict(each) for each in made.candidates],
            "challenger_loss": made.challenger_loss,
            "champion_loss": made.champion_loss,
            "gain_error": made.gain_error,
            "holdout_rows": made.holdout_rows,
            "reference": asdict(made.reference),
            "leakage": [asdict(each) for each in self.leaks],
            "data": self.lineage,
        }


def won(attempt: Attempt, version: Version, tx: Connection, now: float) -> Sequence[NewJob]:
    """Let the version serve, or put it on trial, unless another one began to serve while it was trained.

    Raises:
        JobFailed: `superseded`; nothing is changed then.
    """
    current = _locked(attempt, tx)
    versions.add(tx, version)
    return _try_out(attempt, version, tx, now) if attempt.is_tried else _promote(attempt, version, current, tx, now)


def _locked(attempt: Attempt, tx: Connection) -> Model:
    """The model as it stands, locked; what was compared with its champion says nothing of another one."""
    current = models.lock(tx, attempt.model.name)
    if current.champion != attempt.model.champion:
        raise JobFailed("superseded", f"Version {current.champion} began to serve while this training ran.")
    return current


def _promote(attempt: Attempt, version: Version, current: Model, tx: Connection, now: float) -> Sequence[NewJob]:
    model, made = attempt.model, attempt.made
    taken = f"version {model.champion}, which it was compared with, serves no more"
    champions.reject(tx, model.name, taken, {"by": "gate"}, now)
    champions.serve(
        tx,
        model.name,
        version.name,
        model.head,
        attempt_head=model.head,
        attempt_rows=model.rows,
        follow_up_at=_follow_up_at(attempt),
        change_position=None if attempt.since is None else model.head - attempt.since,
        performance=made.challenger_score,
        last_trained_at=now,
        classes=sorted({*(current.classes or []), *made.classes}, key=str) or None,
    )
    jobs.wake_waiting(tx, model.name, now)
    reason = f"Version {version.name} promoted: {attempt.compared}.{attempt.doubt}"
    evidence = attempt.evidence() | {"model_sha256": version.sha256}
    record = (version.name, model.champion, reason, now, attempt.job.id, evidence)
    champions.record(tx, model.name, "promote", *record)
    done = "trained by itself: version" if model.champion is None else f"retrained and promoted: version {model.champion} →"
    line = f"{done} {version.name}, {attempt.compared}{attempt.doubt and '.' + attempt.doubt}"
    kind = "warning" if attempt.leaks else "success"
    told = tell(attempt.room, tx, attempt.incident, kind, "resolved", _title(attempt), [line], now, model.name)
    return [told, *over(attempt.room, tx, model.name, kind, _title(attempt), line, now, attempt.incident)]


def _try_out(attempt: Attempt, version: Version, tx: Connection, now: float) -> Sequence[NewJob]:
    """The champion serves on; the version that won has to prove itself on the traffic that comes."""
    model, mode = attempt.model, attempt.problem.loop.trial
    if model.champion is None or mode is None:
        raise ValueError("nobody to be compared with, or no trial declared")
    attempted(tx, model, now)
    older = trials.get(tx, model.name)
    change = None if attempt.since is None or attempt.made.reason not in AFTER_A_CHANGE else model.head - attempt.since
    made = (version.name, model.champion, mode, attempt.job.id, attempt.incident, now, model.head, change)
    beside = f"Version {version.name} won the gate and is on trial ({mode}) beside version {model.champion}"
    reason = f"{beside}: {attempt.compared}.{attempt.doubt}"
    evidence = attempt.evidence() | {"model_sha256": version.sha256, "trial": {"mode": mode, "start": model.head}}
    champions.try_out(tx, Trial(model.name, *made, {}, {}, trial.figures(Standing())), reason, evidence, now)
    title = f"{model.name} retrained, version {version.name} is on trial"
    told = [tell(attempt.room, tx, attempt.incident, "info", "retraining", title, [reason], now, model.name)]
    if older is not None and older.incident != attempt.incident:
        told.append(tell(attempt.room, tx, older.incident, "warning", "resolved", title, [reason], now, model.name))
    return told


def _follow_up_at(attempt: Attempt) -> int | None:
    """At which head to look again at a change that was just learnt from few rows; a look that did not pay is the last."""
    if attempt.since is None or attempt.made.reason not in AFTER_A_CHANGE:
        return None
    if attempt.made.reason == "follow_up" and not attempt.made.is_clear:
        return None
    again = next_follow_up(attempt.since)
    return None if again is None else attempt.model.head - attempt.since + again


def _title(attempt: Attempt) -> str:
    name = attempt.model.name
    if attempt.mends:
        return f"Drift in {name}, fixed by itself"
    return f"{name} has its first version" if attempt.model.champion is None else f"{name} improved"


def reject(attempt: Attempt, tx: Connection, now: float) -> Sequence[NewJob]:
    """The champion stays; the cool-down begins.

    Raises:
        JobFailed: `superseded`: it serves no more; nothing is changed then.
    """
    _locked(attempt, tx)
    model = attempt.model
    attempted(tx, model, now)
    reason = f"Version {model.champion} stays: the best challenger has {attempt.compared}."
    champions.record(tx, model.name, "reject", None, model.champion, reason, now, attempt.job.id, attempt.evidence())
    title = f"{model.name} retrained, version {model.champion} stays"
    lines = [f"retrained and rejected: {reason}"]
    return [tell(attempt.room, tx, attempt.incident, "warning", "resolved", title, lines, now, model.name)]
