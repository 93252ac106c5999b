"""A worker's main process: imports and models loaded before the fork, leases given back at the end."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import signal
import threading
import time
from typing import Any, NoReturn

from billiard.process import active_children
from celery import signals
from loguru import logger
from sqlalchemy.exc import DBAPIError

from jobs.kinds import TRAIN
from registry.mlflow_registry import load_mlflow
from settings import Settings
from storage import heartbeats, ledger
from storage.database import Database
from workers import roles
from workers.app import app, room, settings
from workers.prepare import make_first_store
from workers.room import worker_name
from workers.watchdog import Watchdog

LAST_WORD_S = 0.5  # after the soft shutdown's time: what runs then is given back and ended, however deep it sits


def run(role: str) -> NoReturn:
    """Work until told to stop; Celery ends the process."""
    _preload(role)
    solo = roles.ROLES[role].pool == "solo"

    def ready(**_: Any) -> None:
        if solo:
            room()
        else:
            _stop_in_time(role)
        logger.info("ready")

    def leave(**_: Any) -> None:
        give_back(settings, role)

    signals.worker_ready.connect(ready, weak=False)
    signals.worker_shutdown.connect(leave, weak=False)
    if not roles.ROLES[role].told:
        for name in ("celery.worker.strategy", "celery.app.trace"):
            logging.getLogger(name).setLevel(logging.WARNING)
    Watchdog.wedged = lambda: end_now(role)
    app.steps["worker"].add(Watchdog)
    app.worker_main(["--quiet", *roles.arguments(role, settings.log_level)])  # its banner is no log line


def _preload(role: str) -> None:
    """What children share with their parent. A worker that never trains does without MLflow: 3 s and 160 MB less."""
    if TRAIN in roles.ROLES[role].queues:
        load_mlflow()
        make_first_store(settings)
    for name in ("sklearn.linear_model", "sklearn.ensemble", "workers.tasks"):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what was imported stays: looking through it again and again took two thirds of a large read's time


def _stop_in_time(role: str) -> None:
    """At the first SIGTERM, begin to count: a child that is deep in compiled code hears no signal, and Celery waits for it."""
    celerys = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: Any) -> None:
        timer = threading.Timer(app.conf.worker_soft_shutdown_timeout + LAST_WORD_S, end_now, [role])
        timer.daemon = True
        timer.start()
        if callable(celerys):
            celerys(number, frame)

    signal.signal(signal.SIGTERM, stop)


def end_now(role: str) -> None:
    """Give the jobs back and end this process and its children at once."""
    give_back(settings, role)
    for child in active_children():
        if child.pid:
            os.kill(child.pid, signal.SIGKILL)
    os._exit(0)


def give_back(settings: Settings, role: str) -> None:
    """A stop refunds the attempts of what it interrupts: nothing failed."""
    name = worker_name(role)
    db = Database(settings.ledger_url, pool_size=1)
    try:
        with db.begin() as tx:
            count = ledger.release(tx, f"{name}/", time.time())
            heartbeats.leave(tx, name)
        if count:
            logger.warning("stopping: {} jobs are given back to the ledger", count)
    except DBAPIError as fault:
        logger.warning("leases are left to expire: {}", type(fault.orig).__name__)
    finally:
        db.close()
