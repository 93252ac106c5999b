"""What kinds of jobs there are, which queue carries each, and how long one may take. Queue names live here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["predict", "generate", "ingest", "check", "train", "shadow", "notify"]
KINDS: tuple[Kind, ...] = get_args(Kind)

PREDICT, BULK, TRAIN, CHECKS, NOTIFY, SHADOW, QUARANTINE = (
    "predict",
    "bulk",
    "train",
    "checks",
    "notify",
    "shadow",
    "quarantine",
)
QUEUES = (PREDICT, BULK, TRAIN, CHECKS, NOTIFY, SHADOW, QUARANTINE)

TICK = "tick"  # beat's message: it asks for the checks of the current interval, and names no job
ROWS_AT_ONCE = 1_000  # a prediction of more rows is bulk, its result a file
GROUP = 512  # jobs that one message may carry


@dataclass(frozen=True, slots=True)
class Policy:
    """How a kind of job is carried.

    `time_limit_s`: after so many seconds its process is killed (prefork) and the ledger takes the job back.
    `serial`: jobs of this kind and model run one at a time.
    """

    queue: str
    time_limit_s: float
    serial: bool = False


POLICIES: dict[Kind, Policy] = {
    "predict": Policy(PREDICT, time_limit_s=300),
    "generate": Policy(BULK, time_limit_s=600),
    "ingest": Policy(BULK, time_limit_s=600),
    "check": Policy(CHECKS, time_limit_s=120, serial=True),
    "train": Policy(TRAIN, time_limit_s=3600, serial=True),
    "shadow": Policy(SHADOW, time_limit_s=120, serial=True),
    "notify": Policy(NOTIFY, time_limit_s=60),
}


def lane(kind: Kind, model: str) -> str | None:
    """The lane of a job, in which one runs at a time; None if any number may."""
    return f"{kind}:{model}" if POLICIES[kind].serial else None
