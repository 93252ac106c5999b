"""What became of a model lately, as the picture that a message about it carries."""

from __future__ import annotations

from sqlalchemy import Connection

from notify.picture import Course, Happened, draw
from problems.declaration import Problem
from storage import checks, decisions, models
from storage.checks import Check
from storage.decisions import Decision

CHECKS, DECISIONS = 200, 50  # how many are shown
HAPPENED: dict[str, Happened] = {"train": "training", "promote": "promotion", "rollback": "rollback"}


def picture(tx: Connection, name: str, problem: Problem, now: float) -> bytes | None:
    """A PNG of the model's course up to now; None while there are no two moments to join."""
    model = models.get(tx, name)
    points = [point for check in reversed(checks.listed(tx, name, CHECKS, None).entries) if (point := _point(check))]
    if model is not None and model.performance is not None:
        points.append((max(now, points[-1][0] if points else now), model.performance))
    if len(points) < 2:
        return None
    since = points[0][0]
    events = [event for each in reversed(decisions.listed(tx, name, DECISIONS, None).entries) for event in _events(each)]
    return draw(Course(problem.metric, problem.threshold, points, [event for event in events if event[0] >= since]))


def _point(check: Check) -> tuple[float, float] | None:
    recent = check.result.get("recent_performance")
    return (check.created_at, recent) if recent is not None and check.result["labels_seen"] else None


def _events(decision: Decision) -> list[tuple[float, Happened]]:
    happened = HAPPENED.get(decision.action)
    if happened is None:
        return []
    alarm: list[tuple[float, Happened]] = [(decision.created_at, "alarm")] if decision.answers_alarm else []
    return [*alarm, (decision.created_at, happened)]
