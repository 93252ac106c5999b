"""The roles that a worker's process can have: which queues, which pool. `python -m workers ROLE` starts one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from jobs.kinds import BULK, CHECKS, NOTIFY, PREDICT, QUARANTINE, SHADOW, TRAIN


@dataclass(frozen=True, slots=True)
class Role:
    """Queues in the order of their importance; a solo pool for predictions, which are short and want no hop between processes.

    `told`: whether each message is told of: in the log, and as events, by which Flower shows it. It costs as much as the work
    of a small message.
    """

    queues: tuple[str, ...]
    pool: Literal["solo", "prefork"]
    concurrency: int | None = None  # None: WORKER_CONCURRENCY
    told: bool = True


ROLES: dict[str, Role] = {
    "predict": Role((PREDICT,), "solo", told=False),
    "general": Role((CHECKS, TRAIN, BULK, NOTIFY, SHADOW), "prefork", 3),
    "quarantine": Role((QUARANTINE,), "prefork", 1),
    "worker": Role((PREDICT, CHECKS, NOTIFY), "prefork"),
    "bulk": Role((BULK, SHADOW), "prefork", 1),  # a process apart: no row waits for a file, however many files there are
    "trainer": Role((TRAIN,), "prefork", 1),
}


def arguments(name: str, log_level: str) -> list[str]:
    """Celery's command line for a role."""
    role = ROLES[name]
    args = [
        "worker",
        "--queues",
        ",".join(role.queues),
        "--pool",
        role.pool,
        "--hostname",
        f"{name}@%h",
        "--loglevel",
        log_level,
    ]
    args += ["--without-gossip", "--without-mingle", "--optimization", "fair"]
    args += ["--concurrency", str(role.concurrency)] if role.concurrency else []
    return args + (["--task-events"] if role.told else [])


def announce(name: str) -> None:
    """Let the processes that are forked from this one know what they are."""
    os.environ["CONTINUAL_ROLE"] = name
    os.environ["CONTINUAL_QUEUES"] = ",".join(ROLES[name].queues)
    if ROLES[name].pool == "solo":
        os.environ.pop("REMAP_SIGTERM", None)  # its jobs are short and end first; the soft way would break into one
    else:
        os.environ["REMAP_SIGTERM"] = "SIGQUIT"  # SIGTERM: stop softly, give leases back
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")  # processes are the parallelism here
