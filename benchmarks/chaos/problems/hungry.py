"""Eats memory until there is no more: one GiB, for the machine is not its own."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np

from benchmarks.chaos.harmful import Harmful

declared = {
    "task": "binary",
    "label": "label",
    "metric": "accuracy",
    "threshold": 0.5,
    "features": {"x1": "number", "x2": "number"},
}


class Learner(Harmful):
    def harm(self) -> None:
        limits = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), limits[1]))
        try:
            raise AssertionError(f"{len([np.ones(1 << 22) for _ in range(1_000)])} times 32 MiB fit into one GiB")
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)


def estimator() -> Learner:
    return Learner()
