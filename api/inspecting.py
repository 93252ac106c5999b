"""Whether scikit-learn has an estimator and takes its arguments. A child process looks, so that the API never imports it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

import msgspec

from api.errors import Fault, busy
from problems.declaration import Problem, declared

TIME_LIMIT_S = 60.0
MOST_KEPT = 1_000
AT_ONCE = 2  # each child takes a second of CPU and 200 MB


class Verdict(msgspec.Struct):
    """What `python -m ml.inspection` prints."""

    errors: list[Fault] = []


class Inspector:
    """Asks the child, and keeps what it said: the same declaration is looked at once."""

    def __init__(self, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._time_limit_s = time_limit_s
        self._kept: dict[bytes, list[Fault]] = {}
        self._children = threading.BoundedSemaphore(AT_ONCE)

    def faults(self, problem: Problem) -> list[Fault]:
        """What scikit-learn has against the problem.

        Raises:
            Refused: 503, the child did not answer.
        """
        asked = declared(problem)
        key = msgspec.json.encode({k: v for k, v in asked.items() if k not in ("threshold", "metric", "ignore", "label")})
        if key not in self._kept:
            with self._children:
                found = self._ask({"name": problem.name, "declared": asked})
            while len(self._kept) >= MOST_KEPT:
                self._kept.pop(next(iter(self._kept)), None)
            self._kept[key] = found
        return self._kept[key]

    def _ask(self, question: Mapping[str, Any]) -> list[Fault]:
        try:
            child = subprocess.run(
                [sys.executable, "-m", "ml.inspection"],
                input=msgspec.json.encode(question),
                capture_output=True,
                timeout=self._time_limit_s,
                check=True,
            )
            return msgspec.json.decode(child.stdout, type=Verdict).errors
        except (subprocess.SubprocessError, msgspec.DecodeError) as wrong:
            raise busy(503, f"The estimator could not be looked at ({type(wrong).__name__}). Try again.", 5) from wrong
