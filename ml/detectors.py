"""Detectors as a port: what a check needs of one, whichever a problem names (`detector`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import ArrayLike

from ml import detector as esr
from ml.adwin import AdwinState
from ml.detector import Alarm, DetectorState
from ml.threshold import ThresholdState
from problems.declaration import Problem


class Watch(Protocol):
    """A detector's state: immutable, JSON-able, the same however the rows are cut.

    Attributes:
        mu0: the loss above which the champion counts as worse, 0 to 1.
        limit: where `evidence` raises the alarm.
        rows: how many were processed.
        alarm: the first one; it stays, and processing goes on.
        evidence: the statistic after the last row.
        why: what an alarm says, in words.
    """

    @property
    def mu0(self) -> float: ...
    @property
    def limit(self) -> float: ...
    @property
    def rows(self) -> int: ...
    @property
    def alarm(self) -> Alarm | None: ...
    @property
    def evidence(self) -> float: ...
    @property
    def why(self) -> str: ...

    def after(self, losses: ArrayLike) -> Watch:
        """The state after these losses, each in [0, 1], oldest first."""

    def to_dict(self) -> dict[str, Any]:
        """What is stored."""


def start(problem: Problem, mu0: float, limit: float) -> Watch:
    """The problem's detector, before any row."""
    if problem.loop.detector == "threshold":
        return ThresholdState(1.0 - problem.threshold, 1.0 - problem.threshold)
    return AdwinState(mu0) if problem.loop.detector == "adwin" else esr.start(mu0, limit)


def start_floor(problem: Problem, holdout_score: float, limit: float) -> Watch | None:
    """The performance floor beside it; the plain rule is one itself."""
    if problem.loop.detector == "threshold":
        return None
    return esr.start_floor(problem.metric, problem.threshold, holdout_score, limit)


def load(problem: Problem, stored: Mapping[str, Any], limit: float) -> Watch | None:
    """The state as it was stored; None if that was another detector's, or nothing.

    e-SR's limit follows the rate of labels until an alarm has been raised at it; the others have limits of their own.
    """
    kind = stored.get("kind", "esr")
    if not stored or kind != problem.loop.detector:
        return None
    if kind == "esr":
        return DetectorState.from_dict(stored).with_limit(limit)
    return AdwinState.from_dict(stored) if kind == "adwin" else ThresholdState.from_dict(stored)
