"""That all is well: said once a day with what the quiet checks saw, or at each check where somebody wants that."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import Connection

from ml.metrics import figure
from problems.declaration import Problem
from storage import checks
from storage.checks import Check
from storage.jobs import NewJob
from storage.models import Model
from workers.incidents import tell, told_before
from workers.room import Room

DAY_S = 86_400.0
MOST = 5_000  # checks that a digest looks at, the newest of the day


def all_is_well(room: Room, tx: Connection, model: Model, problem: Problem, performance: float, now: float) -> list[NewJob]:
    """Tell of a calm check: the first of a day (UTC) sums up those of the last 24 hours."""
    every = room.settings.notify_every_check
    day = time.strftime("%Y-%m-%d", time.gmtime(now))
    key = f"ok:{model.name}:{now if every else day}"
    if told_before(tx, key):
        return []
    good = problem.keeps(performance)
    side = "keeps" if good else "misses"
    shown = f"{problem.metric} {figure(performance)}"
    lines = [f"version {model.champion}: {shown}, which {side} the threshold {problem.threshold:g}"]
    if not every:
        lines += _day(checks.since(tx, model.name, now - DAY_S, MOST), problem.metric)
    kind = "success" if good else "warning"
    return [tell(room, tx, key, kind, "told", f"Performance of {model.name}", lines, now, model.name)]


def _day(seen: Sequence[Check], metric: str) -> list[str]:
    """The last day in a sentence; nothing on the first."""
    measured = [value for check in seen if (value := check.result.get("performance")) is not None]
    if len(measured) < 2:
        return []
    labels = sum(check.result["labels_seen"] for check in seen)
    found = [check.result["decision"] for check in seen]
    alarms = sum(found.count(decision) for decision in ("drift", "floor"))
    said = f"{len(seen):,} checks in 24 h saw {labels:,} labels: {metric} {figure(min(measured))} to {figure(max(measured))}"
    return [f"{said}, {alarms or 'no'} alarm{'s' if alarms != 1 else ''}"]
