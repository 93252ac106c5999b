"""Interleaved rounds: each round asks every system in turn, so that whatever else the machine does meets all of them."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.load import Crowd, quantile
from benchmarks.peers.peer import Peer

CLIENTS = 64
WARM_S, ACCEPT_S = 0.5, 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long each round is.

    Attributes:
        rounds: of every model and system.
        crowd_s: seconds at 64 clients.
        lone_s: seconds with one client.
    """

    rounds: int
    crowd_s: float
    lone_s: float


@dataclass(frozen=True, slots=True)
class Questions:
    """Rows to ask, and the probability of class 1 of each, by model, from a direct `predict_proba`."""

    rows: Sequence[Sequence[float]]
    expected: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one system and model: predictions a second at 64 clients, CPU in µs per prediction, latencies in ms."""

    rate: float
    server_us: float
    client_us: float
    lone_p50: float
    lone_p99: float
    accept_p99: float | None
    failed: int
    others_share: float  # of one core: what the other systems used meanwhile, idle as they should be


@dataclass
class Measured:
    """All samples, by (system, model), a list with one entry a round."""

    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)
    faults: set[str] = field(default_factory=set)

    def median(self, peer: str, model: str, of: Callable[[Sample], float]) -> float:
        """The median over the rounds."""
        return statistics.median(of(sample) for sample in self.samples[peer, model])

    def ratio(self, peer: str, other: str, model: str, of: Callable[[Sample], float]) -> float:
        """The median over the rounds of `peer`'s figure by `other`'s in the same round."""
        pairs = zip(self.samples[peer, model], self.samples[other, model], strict=True)
        return statistics.median(of(one) / of(two) for one, two in pairs)


def measure(peers: Sequence[Peer], questions: Questions, plan: Plan) -> Measured:
    """Ask every system about every model in each round, in turns, there and back: nobody is always first."""
    measured = Measured()
    for number in range(plan.rounds):
        for model in questions.expected:
            for peer in peers if number % 2 == 0 else reversed(peers):
                sample = _round(peer, peers, model, questions, plan, measured.faults)
                measured.samples.setdefault((peer.name, model), []).append(sample)
                print(
                    f"round {number + 1} {model} {peer.name}: {sample.rate:.0f}/s, {sample.server_us:.0f} µs",
                    file=sys.stderr,
                    flush=True,
                )
    return measured


def _round(peer: Peer, peers: Sequence[Peer], model: str, questions: Questions, plan: Plan, faults: set[str]) -> Sample:
    def crowd() -> Crowd:
        return Crowd(peer, peer.port, model, questions.rows, questions.expected[model])

    crowd().closed(4, WARM_S)
    others = [other for other in peers if other is not peer]
    busy, cpu = sum(other.cpu_s() for other in others), peer.cpu_s()
    taken = crowd().closed(CLIENTS, plan.crowd_s)
    cpu, busy = peer.cpu_s() - cpu, sum(other.cpu_s() for other in others) - busy
    lone = crowd().closed(1, plan.lone_s)
    failed, accept = taken.failed + lone.failed, None
    if (talk := peer.accepting()) is not None:
        posted = Crowd(talk, peer.port, model, questions.rows, questions.expected[model]).closed(CLIENTS, ACCEPT_S)
        talk.settle()
        failed, accept = failed + posted.failed, 1e3 * quantile(posted.first, 0.99)
        faults |= posted.faults
    faults |= {f"{peer.name}: {fault}" for fault in taken.faults | lone.faults}
    if not taken.done or not lone.done:
        raise RuntimeError(f"{peer.name} answered nothing: {sorted(faults)[:3]}")
    return Sample(
        rate=taken.rate,
        server_us=1e6 * cpu / len(taken.done),
        client_us=1e6 * taken.cpu_s / len(taken.done),
        lone_p50=1e3 * quantile(lone.done, 0.5),
        lone_p99=1e3 * quantile(lone.done, 0.99),
        accept_p99=accept,
        failed=failed,
        others_share=busy / taken.seconds,
    )
