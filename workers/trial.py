"""A challenger on trial during a check: both models are asked for the same labelled rows, and one of them wins in the end.

How a trial ends, besides by its figures, is in docs/learning.md; whatever ends it ends it in one transaction, with a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
from loguru import logger
from sqlalchemy import Connection

from ml import detectors as port
from ml import evidence, trial
from ml.challenger import next_follow_up
from ml.detectors import Watch
from ml.metrics import better, figure, losses, score
from ml.model_file import RefusedModel
from ml.prediction import Prediction, predict
from ml.trial import LIMIT, ROWS, Standing
from registry.port import RegistryDown, UnknownVersion
from storage import champions, trials, versions
from storage.jobs import NewJob
from storage.models import Model
from storage.trials import Trial
from workers import attempts, history, lineage
from workers.history import History
from workers.incidents import over, tell
from workers.room import Room
from workers.shelf import Loaded

DAY_S: Final = 86_400.0
Figures = dict[str, Any]


def figures(standing: Standing) -> Figures:
    """What people are shown of a comparison."""
    sides = {"better": standing.better.statistic, "worse": standing.worse.statistic}
    return {"rows": standing.rows, "rows_limit": ROWS, **sides, "limit": LIMIT}


@dataclass(frozen=True, slots=True)
class OnTrial:
    """A trial as far as this check has come: how it stands, the challenger's own detector, and both models."""

    row: Trial
    standing: Standing
    watch: Watch
    champion: Loaded
    challenger: Loaded

    def see(self, part: History, said: Prediction) -> OnTrial:
        """After those of these rows that neither was trained on, and what the champion said of them."""
        first = int(np.searchsorted(part.positions, self.row.start))
        seen = slice(first, first + ROWS - self.standing.rows)
        rows, before = part.cut(seen), said.cut(seen)
        if not len(rows):
            return self
        problem = self.champion.problem
        mine = predict(self.challenger.pipeline, problem, rows.rows)
        worse = evidence.differences(problem, rows.truth, mine, before, self.champion.version.reference.get("error_scale"))
        lost = losses(problem, rows.truth, mine, self.challenger.version.reference.get("error_scale"))
        return replace(self, standing=trial.update(self.standing, worse), watch=self.watch.after(lost))

    @property
    def after(self) -> Trial:
        """The row as it is to be stored."""
        standing, detector = self.standing.to_dict(), self.watch.to_dict()
        return replace(self.row, standing=standing, detector=detector, figures=figures(self.standing))


@dataclass(frozen=True, slots=True)
class Ended:
    """What a trial has come to, why (in words that follow the versions' names), and the figures behind it."""

    action: Literal["promote", "reject"]
    row: Trial
    why: str
    challenger: Loaded | None = None
    known: Figures = field(default_factory=dict)


def begin(room: Room, tx: Connection, champion: Loaded, limit: float) -> OnTrial | Ended | None:
    """The model's trial as it stands; its end, if it cannot go on; None if there is none, or the challenger is not at hand now.

    Args:
        champion: the version that serves, whose file was not refused.
        limit: of the challenger's own detector.
    """
    row = trials.get(tx, champion.problem.name)
    if row is None:
        return None
    if champion.problem.loop.trial != row.mode:
        return Ended("reject", row, "its model is not declared for this kind of trial any more")
    version = versions.get(tx, row.model, row.version)
    try:
        pipeline = room.shelf.pipeline(version) if version else None
    except (RefusedModel, UnknownVersion) as fault:
        return Ended("reject", row, f"its file is refused ({fault})")
    except RegistryDown as down:
        logger.warning("{} version {} is not at hand, its trial waits: {}", row.model, row.version, down)
        return None
    if version is None:
        return Ended("reject", row, "it is not known any more")
    watch = port.load(champion.problem, row.detector, limit) or port.start(champion.problem, version.reference["mu0"], limit)
    return OnTrial(row, Standing.from_dict(row.standing), watch, champion, Loaded(champion.problem, version, pipeline))


def judge(room: Room, tx: Connection, tried: OnTrial | None, head: int) -> Ended | None:
    """What the trial has come to by now; None while it goes on.

    The proof is of losses that are bounded row by row, which not every metric is made of: so the problem's own metric
    has to say the same. A challenger that is not proven better, and whose own loss has risen above its reference
    meanwhile, has learnt what is no longer so.
    """
    if tried is None:
        return None
    overdue = room.clock() - tried.row.began_at > tried.champion.problem.loop.trial_days * DAY_S
    standing = tried.standing
    if not (standing.is_proven or standing.rows >= ROWS or overdue or tried.watch.alarm):
        return None
    known = _measured(room, tx, tried, head)
    action = trial.verdict(standing, known["leads"], overdue)
    if action is None and tried.watch.alarm is not None:
        why = f"{tried.watch.why}, so it is out of date itself"
        return Ended("reject", tried.row, why, tried.challenger, known)
    return Ended(action, tried.row, _why(tried, known, overdue), tried.challenger, known) if action else None


def _measured(room: Room, tx: Connection, tried: OnTrial, head: int) -> Figures:
    """Both models' scores on the trial's rows, and what these are."""
    problem = tried.champion.problem
    known = figures(tried.standing) | {"metric": problem.metric, "against": tried.row.against, "leads": False}
    known |= {"proof_rows": {"better": tried.standing.better.proof_rows, "worse": tried.standing.worse.proof_rows}}
    rows = history.between(room, tx, problem, max(tried.row.start, head - ROWS), head)
    if rows is None:
        return known
    mine, other = (
        score(problem.metric, rows.truth, predict(each.pipeline, problem, rows.rows))
        for each in (tried.challenger, tried.champion)
    )
    known |= {"score": mine, "champion_score": other, "leads": better(problem.metric, mine, other)}
    return known | lineage.compared(problem, rows)


def _why(tried: OnTrial, known: Figures, overdue: bool) -> str:
    """The figures in a sentence."""
    if "score" not in known:
        return f"no label came in {tried.champion.problem.loop.trial_days:g} days"
    compared = (
        f"on {known['rows']:,} labelled rows of its trial its {known['metric']} is {figure(known['score'])}, that of "
        f"version {tried.row.against} on the same rows {figure(known['champion_score'])}"
    )
    side = tried.standing.better if known["leads"] else tried.standing.worse
    if side.proof is not None:
        return f"{compared}; evidence {side.statistic:,.0f} ≥ {LIMIT:,.0f} after {side.proof_rows:,} rows"
    ended = f"{tried.champion.problem.loop.trial_days:g} days" if overdue else f"{ROWS:,} rows"
    return f"{compared}; neither was proven better in {ended}"


def shown(tried: OnTrial | None, ended: Ended | None) -> Figures | None:
    """What a check tells of it."""
    if tried is None and ended is None:
        return None
    row = tried.row if tried else ended.row if ended else None
    now = figures(tried.standing) if tried else {}
    return {"version": row.version if row else None, "mode": row.mode if row else None, **now, "ended": ended and ended.action}


def settle(room: Room, tx: Connection, model: Model, ended: Ended, check: Figures, head: int, now: float) -> Sequence[NewJob]:
    """Record the end: the challenger serves from now on, or nobody has it any more.

    Args:
        model: as it stands, locked; its champion is the one that the challenger was compared with.
        head: up to where the check has looked: what comes later is the next check's.
    """
    known = {"by": "trial", "trial": ended.known, "check": check}
    if ended.action == "reject" or ended.challenger is None:
        return attempts.reject(room, tx, model.name, ended.row.version, ended.why, known, now)
    trials.end(tx, model.name)
    row, version = ended.row, ended.challenger.version
    also = {"performance": ended.known["score"], "change_position": row.change_position, "follow_up_at": _again(row, head)}
    also |= {"classes": sorted({*(model.classes or []), *(version.classes or [])}, key=str) or None}
    champions.serve(tx, model.name, version.name, head, **also)
    reason = f"Version {version.name} promoted: {ended.why}."
    known["trial"] = row.kept() | ended.known
    evidence = known | {"head": head, "model_sha256": version.sha256}
    champions.record(tx, model.name, "promote", version.name, row.against, reason, now, row.job_id, evidence)
    title = f"{model.name}: version {version.name} stood its trial and serves"
    told = tell(room, tx, row.incident, "success", "resolved", title, [reason], now, model.name)
    return [told, *over(room, tx, model.name, "success", title, reason, now, row.incident)]


def _again(row: Trial, head: int) -> int | None:
    """At which head to look again at the drift that this answers: it was learnt from the rows that there were then."""
    since = None if row.change_position is None else next_follow_up(head - row.change_position)
    return None if since is None or row.change_position is None else row.change_position + since
