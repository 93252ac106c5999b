"""The safety net after a promotion: the predecessor is scored on the same new rows, and serves again if it was better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from loguru import logger
from sqlalchemy import Connection

from ml import evidence, probation
from ml.metrics import better, figure, losses, score
from ml.model_file import RefusedModel
from ml.prediction import Prediction, predict
from ml.probation import LIMIT, ROWS, Probation
from registry.port import UnknownVersion
from storage import champions, versions
from storage.detectors import Detector
from storage.incidents import State, of_drift
from storage.jobs import NewJob
from storage.models import Model
from storage.versions import Version
from workers import history, lineage
from workers.history import History
from workers.incidents import over, tell
from workers.room import Room
from workers.shelf import Loaded


@dataclass(frozen=True, slots=True)
class OnProbation:
    """A champion's probation during one check: what is remembered of it, and both models."""

    state: Probation
    champion: Loaded
    predecessor: Loaded

    def see(self, part: History, said: Prediction) -> OnProbation:
        """After these rows and what the champion said of them; the predecessor looks at no more than it needs."""
        first = slice(ROWS - self.state.rows)
        seen = part.cut(first)
        if not len(seen):
            return self
        problem, scale = self.champion.problem, self.predecessor.version.reference.get("error_scale")
        other = predict(self.predecessor.pipeline, problem, seen.rows)
        worse = evidence.differences(problem, seen.truth, said.cut(first), other, scale)
        return replace(self, state=probation.update(self.state, worse))


@dataclass(frozen=True, slots=True)
class Worse:
    """A champion that does worse than its predecessor would have: both scores, on the newest rows since it began to serve.

    `data` says which rows these are; `loss` is the predecessor's on them, as its own reference counts it, 0 to 1.
    """

    state: Probation
    metric: str
    predecessor: Version
    score: float
    predecessor_score: float
    loss: float
    data: dict[str, Any]

    @property
    def fits(self) -> bool:
        """Whether the predecessor is on these rows what it was on its reference."""
        return self.loss <= float(self.predecessor.reference["mu0"])

    @property
    def misfit(self) -> str:
        """That it is not, in words."""
        mu0 = self.predecessor.reference["mu0"]
        return f"so is that of version {self.predecessor.name}, which serves again: {figure(self.loss)} against {figure(mu0)}"

    @property
    def sentence(self) -> str:
        """Why it is taken back, after the versions' names."""
        return (
            f"on {self.state.rows:,} labelled rows since it began to serve its {self.metric} is {figure(self.score)}, that of "
            f"version {self.predecessor.name} on the same rows {figure(self.predecessor_score)}; "
            f"evidence {self.state.statistic:,.0f} ≥ {LIMIT:,.0f} after {self.state.proof_rows:,} rows."
        )


def begin(room: Room, tx: Connection, champion: Loaded, detector: Detector) -> OnProbation | None:
    """The champion's probation as it stands; None if it has none, or a predecessor that cannot serve again."""
    if not detector.probation:
        return None
    state = Probation.from_dict(detector.probation)
    predecessor = versions.get(tx, detector.model, state.against)
    if predecessor is None or state.is_over:
        return None
    try:
        return OnProbation(state, champion, Loaded(champion.problem, predecessor, room.shelf.pipeline(predecessor)))
    except (RefusedModel, UnknownVersion) as fault:
        logger.warning("{} has no probation: version {} cannot serve again: {}", detector.model, state.against, fault)
        return None


def judge(room: Room, tx: Connection, tested: OnProbation | None, start: int, head: int) -> Worse | None:
    """The proof that the champion is worse, if there is one and the problem's own metric agrees with it.

    The proof is of losses that are bounded row by row, which not every metric is made of: a model that is better
    where the metric looks (rare classes, the order of probabilities) stays.
    """
    if tested is None or tested.state.proof is None:
        return None
    problem = tested.champion.problem
    rows = history.between(room, tx, problem, max(start, head - ROWS), head)
    if rows is None:
        return None
    said, instead = (predict(each.pipeline, problem, rows.rows) for each in (tested.champion, tested.predecessor))
    mine, other = score(problem.metric, rows.truth, said), score(problem.metric, rows.truth, instead)
    if not better(problem.metric, other, mine):
        return None
    before = tested.predecessor.version
    lost = losses(problem, rows.truth, instead, before.reference.get("error_scale"))
    return Worse(tested.state, problem.metric, before, mine, other, float(lost.mean()), lineage.compared(problem, rows))


def shown(tested: OnProbation | None) -> dict[str, Any] | None:
    """What a check tells of it."""
    if tested is None:
        return None
    state = tested.state
    return {"against": state.against, "rows": state.rows, "statistic": state.statistic, "limit": LIMIT}


def roll_back(
    room: Room, tx: Connection, model: Model, worse: Worse, alarm: str | None, check: dict[str, Any], now: float
) -> Sequence[NewJob]:
    """Let the predecessor serve again, with a record; a drift that has been told of ends with it, unless there is an alarm.

    Args:
        model: as it stands, locked; its champion is the one on probation.
        alarm: why a training starts all the same.
    """
    line = f"Rolled back by itself from version {model.champion} to {worse.predecessor.name}: {worse.sentence}"
    figures = worse.state.to_dict() | {"limit": LIMIT, "score": worse.score, "predecessor_score": worse.predecessor_score}
    figures |= {"predecessor_loss": worse.loss, "predecessor_mu0": worse.predecessor.reference["mu0"], **worse.data}
    champions.go_back(tx, model, worse.predecessor, line, {"by": "probation", "probation": figures, "check": check}, now)
    title = f"{model.name} was rolled back by itself"
    lines = [line] if alarm is None else [line, f"alarm: {alarm}"]
    state: State = "resolved" if alarm is None else "retraining"
    key = of_drift(model.name)
    told = tell(room, tx, key, "warning", state, title, lines, now, model.name)
    return [told, *over(room, tx, model.name, "warning", title, line, now, key)]
