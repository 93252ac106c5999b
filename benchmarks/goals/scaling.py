"""Who would be the limit with more cores: CPU per prediction of each role, and how many workers one front can feed."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks import processes
from benchmarks.goals.goal import Goal
from benchmarks.load import Crowd
from benchmarks.peers.ours import Ours
from benchmarks.rounds import CLIENTS, Questions

ROLES = ("api", "predict", "broker", "others")


def goals(ours: Ours, questions: Questions, seconds: float) -> list[Goal]:
    """A line a model: a plan, with figures but no measurement of more cores than there are."""
    return [_plan(model, _by_role(ours, model, questions, seconds)) for model in questions.expected]


def _by_role(ours: Ours, model: str, questions: Questions, seconds: float) -> Mapping[str, float]:
    """CPU µs per prediction by role."""
    before = _cpu(ours)
    taken = Crowd(ours, ours.port, model, questions.rows, questions.expected[model]).closed(CLIENTS, seconds)
    after = _cpu(ours)
    return {role: 1e6 * (after[role] - before[role]) / len(taken.done) for role in ROLES}


def _cpu(ours: Ours) -> dict[str, float]:
    pids = {role: ours.stack.mains(role) for role in ("api", "predict")} | {"broker": [ours.stack.broker_pid()]}
    spent = {role: processes.cpu_s(processes.tree(roots)) for role, roots in pids.items()}
    return spent | {"others": ours.cpu_s() - sum(spent.values())}


def _plan(model: str, us: Mapping[str, float]) -> Goal:
    front, worker = 1e6 / us["api"], 1e6 / us["predict"]
    told = ", ".join(f"{role} {us[role]:.0f}" for role in ROLES)
    feeds = f"One front feeds {front / worker:.1f} workers: {front:,.0f}/s against {worker:,.0f}/s each"
    measured = f"CPU µs per prediction: {told}. {feeds}"
    return Goal(f"2 and 4 worker processes on cores of their own, {model}", "linear until the front is full", measured, None)
