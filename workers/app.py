"""The Celery app of the workers: one thin task per kind, and the room that each process opens for them."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

from celery import Celery, Task, signals
from loguru import logger

from beat_schedule import schedule
from jobs.app import make_app
from jobs.kinds import POLICIES, PREDICT, TICK, Kind
from jobs.messages import job_ids_of
from settings import load
from telemetry.logs import bound

settings = load()
app: Celery = make_app(
    settings.redis_url,
    beat_schedule=schedule(settings),
    beat_schedule_filename=str(settings.data_dir / "beat" / "schedule"),
    beat_max_loop_interval=5,  # its sign of life is written at each turn
    worker_concurrency=settings.worker_concurrency,
    broker_transport="workers.intake:Transport",
    worker_consumer="workers.consumer:Consumer",
)
app.set_current()
_process: dict[str, Any] = {}  # the room of this process, opened after the fork


def room() -> Any:
    """This process's room, opened at the first use."""
    if "room" not in _process:
        from workers.room import open_room

        queues = os.environ.get("CONTINUAL_QUEUES", "").split(",")
        _process["room"] = opened = open_room(settings, os.environ.get("CONTINUAL_ROLE", "worker"), queues)
        if PREDICT in queues:
            from workers.preload import Preloader

            _process["preloader"] = Preloader(settings.redis_url, opened.shelf.preload)
    return _process["room"]


def _carry(kind: Kind, request: Any, job_ids: object) -> None:
    from workers import tasks  # here, so that beat and Flower start without scikit-learn

    known = job_ids_of(job_ids)
    if not known:
        logger.warning("a {} message without job ids is dropped", kind)
        return
    tasks.carry(room(), kind, known, str(request.id))


def _make_task(kind: Kind) -> None:
    limit_s = min(POLICIES[kind].time_limit_s, settings.job_limit_s)

    @app.task(name=kind, bind=True, time_limit=int(limit_s), ignore_result=True)
    def task(self: Task[Any, Any], /, job_ids: object = None, *_: object, **__: object) -> None:
        _carry(kind, self.request, job_ids)


for _kind in POLICIES:
    _make_task(_kind)


@app.task(name=TICK, ignore_result=True)
def tick(*_: object, **__: object) -> None:
    """Beat's message; its arguments, if someone forged any, are not looked at."""
    from workers import tick as ticking

    ticking.run(room())


@signals.task_prerun.connect
def _bind_ids(task: Any = None, args: Any = None, **_: object) -> None:
    """Celery's own lines about a task, which come after its end, carry the ids that the task's lines carry."""
    known = job_ids_of(args[0] if args else None)
    ids = _process["ids"] = ExitStack()
    headers = getattr(task.request, "headers", None) or {}
    ids.enter_context(bound(request_id=headers.get("request_id"), job_id=known[0] if len(known) == 1 else None))


@signals.task_postrun.connect
def _let_ids_go(**_: object) -> None:
    if "ids" in _process:
        _process.pop("ids").close()


@signals.worker_process_init.connect
def _open_in_child(**_: object) -> None:
    room()


@signals.worker_process_shutdown.connect
def _close_in_child(**_: object) -> None:
    for name in ("preloader", "room"):
        if name in _process:
            _process.pop(name).close()
