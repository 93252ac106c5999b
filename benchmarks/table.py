"""The report: what the machine was, one table of systems, the goals, the bulk table; and its place in the documentation."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.goals.ratios import NAIVE, TITLES
from benchmarks.peers.peer import Peer
from benchmarks.rounds import CLIENTS, Measured, Plan

BEGIN, END = "<!-- written by `python -m benchmarks --write-docs`: begin -->", "<!-- end -->"


@dataclass(frozen=True, slots=True)
class Machine:
    """When and where: the load average before the first round and after the last."""

    load_before: float
    load_after: float

    def line(self, plan: Plan) -> str:
        """One paragraph."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        return (
            f"{now}, {os.cpu_count()} cores ({model[1] if model else platform.machine()}), Python {platform.python_version()}; "
            f"load average {self.load_before:.1f} before, {self.load_after:.1f} after, with its own work. Medians of "
            f"{plan.rounds} interleaved rounds of {plan.crowd_s:g} s at {CLIENTS} clients and {plan.lone_s:g} s with one, one "
            "row a request, every answer compared with `predict_proba`. Client and servers share the cores."
        )


def systems(measured: Measured, peers: Sequence[Peer], missing: Sequence[str]) -> str:
    """One table for all systems and models."""
    figures = "predictions/s | × naive Celery | server CPU, µs | client CPU, µs | lone client p50 / p99, ms"
    lines = [f"| system | model | {figures} | 202 p99 at {CLIENTS}, ms | failed |", "|---" * 9 + "|"]
    for model, title in TITLES.items():
        lines += [_row(measured, peer.name, model, title) for peer in peers if (peer.name, model) in measured.samples]
    others = [100 * sample.others_share for samples in measured.samples.values() for sample in samples]
    notes = [f"- {peer.name}: {peer.about}." for peer in peers] + [f"- Left out: {each}" for each in missing]
    usual, most = statistics.median(others), max(others)
    notes.append(
        f"- While one system was asked, the others together used {usual:.0f} % of one core in the median, {most:.0f} % at most."
    )
    notes += [f"- Failed: {fault}" for fault in sorted(measured.faults)[:5]]
    return "\n".join([*lines, "", *notes])


def _row(measured: Measured, name: str, model: str, title: str) -> str:
    def median(field: str) -> float:
        return measured.median(name, model, lambda sample: float(getattr(sample, field) or 0.0))

    ratio = "–"
    if (NAIVE, model) in measured.samples:
        ratio = f"{measured.ratio(name, NAIVE, model, lambda sample: sample.rate):.1f}"
    accept = f"{median('accept_p99'):.0f}" if median("accept_p99") else "–"
    failed = sum(sample.failed for sample in measured.samples[name, model])
    return (
        f"| {name} | {title} | {median('rate'):,.0f} | {ratio} | {median('server_us'):,.0f} | {median('client_us'):.0f} "
        f"| {median('lone_p50'):.1f} / {median('lone_p99'):.1f} | {accept} | {failed} |"
    )


def write_into(page: Path, report: str) -> None:
    """Put the report between the page's two markers.

    Raises:
        ValueError: the page does not have them.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks its markers {BEGIN} and {END}")
    page.write_text(f"{before}{begin}\n{report.strip()}\n{end}{after}")
