"""A model of the queue, checked against the running stack: one server that takes all that waits as one batch.

A batch of n rows takes S(n) = a + b·n seconds, and serves all of them at its end; what comes meanwhile is the next batch.

- N clients that ask again as soon as they are answered make batches of N: each waits S(N), together they get N / S(N) a second.
- Rows that come at random at rate λ make batches of n = λ·S(n) on average, so S = a / (1 - λ·b): there is a queue that does not
  grow as long as λ < 1/b. Waiting times follow from a simulation of that queue, ten lines long.

a and b come from two measurements, one client and 64; the rest is predicted and then measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.load import Crowd, quantile
from benchmarks.peers.ours import Ours
from benchmarks.rounds import CLIENTS, Questions
from jobs.kinds import GROUP

MODEL, FEW, SHARES, SIMULATED = "lr", (4, 16), (0.25, 0.5, 0.75), 50_000


@dataclass(frozen=True, slots=True)
class Service:
    """Seconds of a batch of n rows: a + b·n."""

    a: float
    b: float

    @classmethod
    def through(cls, first: tuple[int, float], second: tuple[int, float]) -> Service:
        """The line through two measurements of (rows, seconds)."""
        b = (second[1] - first[1]) / (second[0] - first[0])
        return cls(first[1] - b * first[0], b)

    def __call__(self, rows: float) -> float:
        return self.a + self.b * rows


def waits(service: Service, arrivals: Sequence[float], most: int = GROUP) -> list[float]:
    """How long each arrival (seconds, ascending) waits for the end of its batch."""
    found: list[float] = []
    free = 0.0
    while len(found) < len(arrivals):
        start = max(free, arrivals[len(found)])
        stop = int(np.searchsorted(arrivals, start, side="right"))
        batch = arrivals[len(found) : min(stop, len(found) + most)]
        free = start + service(len(batch))
        found += [free - at for at in batch]
    return found


def compare(ours: Ours, questions: Questions, seconds: float) -> str:
    """Calibrate, predict, measure: a table."""

    def crowd() -> Crowd:
        return Crowd(ours, ours.port, MODEL, questions.rows, questions.expected[MODEL])

    def closed(clients: int) -> tuple[float, float]:
        taken = crowd().closed(clients, seconds)
        return taken.rate, quantile(taken.done, 0.5)

    lone, full = closed(1), closed(CLIENTS)
    service = Service.through((1, lone[1]), (CLIENTS, CLIENTS / full[0]))
    line = f"a = {1e3 * service.a:.2f} ms a batch, b = {1e6 * service.b:.0f} µs a row, from 1 and {CLIENTS} clients, LR"
    rows = [
        f"{line}; the rate cannot exceed 1/b = {1 / service.b:,.0f}/s.",
        "",
        "| load | predicted: rows/s | p50, ms | p99, ms | measured: rows/s | p50, ms | p99, ms |",
        "|---" * 7 + "|",
    ]
    for clients in FEW:
        taken, s = crowd().closed(clients, seconds), service(clients)
        rows.append(_row(f"{clients} clients", clients / s, s, s, taken.rate, taken.done))
    for share in SHARES:
        rate = share * full[0]
        arrivals = np.cumsum(np.random.default_rng(3).exponential(1 / rate, SIMULATED)).tolist()
        waited = waits(service, arrivals)
        taken = crowd().opened([at for at in arrivals if at < seconds])
        predicted = (rate, quantile(waited, 0.5), quantile(waited, 0.99))
        rows.append(_row(f"λ = {rate:,.0f}/s at random", *predicted, taken.rate, taken.done))
    return "\n".join(rows)


def _row(load: str, rate: float, p50: float, p99: float, measured_rate: float, done: Sequence[float]) -> str:
    measured = f"{measured_rate:,.0f} | {1e3 * quantile(done, 0.5):.1f} | {1e3 * quantile(done, 0.99):.1f}"
    return f"| {load} | {rate:,.0f} | {1e3 * p50:.1f} | {1e3 * p99:.1f} | {measured} |"
