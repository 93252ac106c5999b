"""The goals that the interleaved rounds answer."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.goals.goal import Goal
from benchmarks.rounds import CLIENTS, Measured

NAIVE, IN_PROCESS, BATCHING = "naive Celery", "FastAPI, model in process", "MLServer"
TITLES = {"lr": "LR", "rf": "RF100"}
# (goal's peer, model, least ratio of throughputs)
FASTER = ((NAIVE, "lr", 8.0), (NAIVE, "rf", 15.0), (IN_PROCESS, "lr", 1.0), (IN_PROCESS, "rf", 4.0))
THRIFTIER = ((IN_PROCESS, "lr"), (BATCHING, "rf"))
LONE_MS, ACCEPT_MS = (3.0, 10.0), 100.0


def goals(measured: Measured, ours: str) -> list[Goal]:
    """A line for each that concerns the system called `ours`; one whose peer was not there says so."""
    found = [_faster(measured, ours, *each) for each in FASTER]
    found += [_thriftier(measured, ours, *each) for each in THRIFTIER]
    p50 = measured.median(ours, "lr", lambda sample: sample.lone_p50)
    p99 = measured.median(ours, "lr", lambda sample: sample.lone_p99)
    lone = p50 <= LONE_MS[0] and p99 <= LONE_MS[1]
    wanted = f"≤ {LONE_MS[0]:g} / {LONE_MS[1]:g} ms"
    found.append(
        Goal("lone client, POST with `Prefer: wait` to result, p50 / p99, LR", wanted, f"{p50:.1f} / {p99:.1f} ms", lone)
    )
    accept = max(measured.median(ours, model, lambda sample: sample.accept_p99 or 0.0) for model in TITLES)
    found.append(Goal(f"accept (202) p99 at {CLIENTS} clients", f"≤ {ACCEPT_MS:g} ms", f"{accept:.0f} ms", accept <= ACCEPT_MS))
    failed = sum(sample.failed for (name, _), samples in measured.samples.items() if name == ours for sample in samples)
    found.append(Goal("requests failed in all rounds", "0", str(failed), failed == 0))
    return [replace(goal, what=f"{goal.what} ({ours.rpartition(', ')[2]})") for goal in found]


def _faster(measured: Measured, ours: str, peer: str, model: str, least: float) -> Goal:
    what, wanted = f"predictions/s at {CLIENTS} clients against {peer}, {TITLES[model]}", f"≥ {least:g} ×"
    if (peer, model) not in measured.samples:
        return Goal(what, wanted, "not there", None)
    ratio = measured.ratio(ours, peer, model, lambda sample: sample.rate)
    return Goal(what, wanted, f"{ratio:.1f} ×", ratio >= least)


def _thriftier(measured: Measured, ours: str, peer: str, model: str) -> Goal:
    what, wanted = f"server CPU per prediction against {peer}, {TITLES[model]}", "≤ 1 ×"
    if (peer, model) not in measured.samples:
        return Goal(what, wanted, "not there", None)
    ratio = measured.ratio(ours, peer, model, lambda sample: sample.server_us)
    mine = measured.median(ours, model, lambda sample: sample.server_us)
    return Goal(what, wanted, f"{ratio:.2f} × ({mine:.0f} µs)", ratio <= 1.0)
