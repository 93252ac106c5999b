"""`python -m workers ROLE`: prepare, a worker's role, sweeper, beat or flower.

`python -m workers reproduce DECISION` runs a training again; `python -m workers doctor` looks at this machine's side.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from workers.roles import ROLES, announce

USAGE = f"usage: python -m workers {{prepare|sweeper|beat|flower|doctor|{'|'.join(ROLES)}}} | reproduce DECISION"


def main(arguments: list[str]) -> int:
    """Run one role until it is told to stop."""
    if len(arguments) == 2 and arguments[0] == "reproduce":
        return _reproduce(arguments[1])
    if len(arguments) != 1 or arguments[0] not in {"prepare", "sweeper", "beat", "flower", "doctor", *ROLES}:
        print(USAGE, file=sys.stderr)
        return 2
    role = arguments[0]
    if role in ROLES:
        announce(role)  # before Celery and numpy are imported: both read the environment
    from settings import load
    from telemetry.logs import setup

    settings = load()
    setup(settings.log_level, settings.log_format, settings.secrets)
    os.environ.setdefault(
        "MPLCONFIGDIR", str(settings.data_dir / "tmp" / "matplotlib")
    )  # its list of fonts takes seconds to make
    start = {"prepare": _prepare, "sweeper": _sweep, "beat": _beat, "doctor": _doctor, "flower": _flower}.get(role)
    return start() if start else _work(role)


def _work(role: str) -> NoReturn:
    from workers.worker import run

    run(role)


def _prepare() -> int:
    from notify.port import NotifyNever
    from problems.catalog import BrokenProblemFile
    from settings import load
    from storage.migrate import TooOld
    from workers.prepare import ProblemChanged, UnfitEstimator, prepare

    try:
        prepare(load())
    except (BrokenProblemFile, NotifyNever, ProblemChanged, TooOld, UnfitEstimator) as wrong:
        print(wrong, file=sys.stderr)
        return 2
    return 0


def _sweep() -> int:
    from settings import load
    from workers import sweeper
    from workers.room import open_room

    room = open_room(load(), "sweeper", [])
    sweeper.run(room)
    room.close()
    return 0


def _beat() -> NoReturn:
    from workers.app import app, settings

    (settings.data_dir / "beat").mkdir(parents=True, exist_ok=True, mode=0o700)
    # Beat only sends: a broker that hangs must not hold it up for ever (workers, who receive, do without this timeout).
    app.conf.broker_transport_options = {**app.conf.broker_transport_options, "socket_timeout": 5}
    app.start(["--quiet", "beat", "--scheduler", "workers.beat:Scheduler", "--loglevel", settings.log_level, "--pidfile", ""])


def _flower() -> NoReturn:
    """Flower as it comes; it finds the log set up and leaves it so."""
    from workers.app import app

    app.start(["flower"])


def _reproduce(decision_id: str) -> int:
    """0 if the same comes out, 1 if something else does, 2 if it cannot be run again."""
    announce("trainer")  # numpy's threads are those of a worker
    from loguru import logger

    from settings import load
    from workers.reproduce import CannotReproduce, run
    from workers.room import open_room

    logger.remove()
    settings = load()
    nowhere = {"redis_url": settings.redis_url or "redis://127.0.0.1:1/0"}  # an embedded broker is known to its stack only
    room = open_room(settings.model_copy(update=nowhere), "reproduce", [])
    try:
        again = run(room, decision_id)
    except CannotReproduce as why:
        print(why, file=sys.stderr)
        return 2
    finally:
        room.close()
    for line in again.around:
        print(f"not as it was then: {line}")
    print("\n".join(again.faults) if again.faults else f"the same: {again.made}")
    return 1 if again.faults else 0


def _doctor() -> int:
    """0, whatever was found: the findings say it."""
    import msgspec

    from settings import load
    from workers.doctor import examine

    print(msgspec.json.encode(examine(load())).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
