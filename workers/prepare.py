"""Before anything starts: tables and problem files. Safe to run again, and by several at once.

MLflow takes seconds to import, and its own store seconds more to make: the worker that trains does both while the others start.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Sequence
from contextlib import closing

from loguru import logger
from sqlalchemy import Connection

from notify.other import OtherNotifier
from problems.catalog import builtin, read_here, read_problems
from problems.declaration import DECLARED, Problem, declared
from problems.loop import warnings
from registry.port import RegistryDown
from settings import Settings
from storage import jobs, models, versions
from storage.database import Database
from storage.ids import new_id
from storage.incidents import tell
from storage.jobs import NewJob
from storage.migrate import migrate
from storage.models import MeaningChanged
from workers.notify import other_addresses
from workers.room import open_registry


class UnfitEstimator(ValueError):
    """A problem's estimator cannot be had, does not learn its rows, or cannot be stored safely."""


class ProblemChanged(ValueError):
    """A problem file changes what its model's data means."""


def prepare(settings: Settings) -> None:
    """Bring ledger and models to where the processes expect them.

    Raises:
        BrokenProblemFile, ProblemChanged, UnfitEstimator: one sentence that names the file or the model.
        NotifyNever: a channel that is set can tell nobody.
        TooOld: the ledger is a newer release's.
    """
    for address in other_addresses(settings):
        OtherNotifier(address)
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    db = Database(settings.ledger_url, pool_size=1)
    migrate(db)
    problems = [builtin(settings.performance_threshold)]
    files = read_here() + (read_problems(settings.problems_dir) if settings.problems_dir else [])
    problems += files
    _fit(db, files)
    with db.begin() as tx:
        for problem in {each.name: each for each in problems}.values():
            _declare(tx, problem)
        jobs.add(tx, [_started(tx, settings, len(models.names(tx)))])
    _replace_lost_store(settings, db)
    db.close()
    logger.info(
        "prepared: {} problems, ledger at {}",
        len(problems),
        db.engine.url.render_as_string(hide_password=True),
    )


def make_first_store(settings: Settings) -> None:
    """Make MLflow's store on this machine where nothing was registered yet: one that has versions may only be away for a while.

    In a process apart, for its connections must not be there twice when this one's children are forked.

    Raises:
        SystemExit: it could not be made; the reason is on stderr.
    """
    if settings.mlflow_tracking_uri:
        return
    with closing(Database(settings.ledger_url, pool_size=1)) as db:
        if _has_versions(db):
            return
    apart = multiprocessing.get_context("fork").Process(target=open_registry(settings).prepare)
    apart.start()
    apart.join()
    if apart.exitcode:
        sys.exit(apart.exitcode)


def _has_versions(db: Database) -> bool:
    with db.read() as tx:
        return versions.any_yet(tx)


def _replace_lost_store(settings: Settings, db: Database) -> None:
    """A start of the whole stack, and nothing else, begins a new store where one with versions is gone."""
    if settings.mlflow_tracking_uri or not _has_versions(db):
        return
    registry = open_registry(settings)
    try:
        registry.ping()
    except RegistryDown as down:
        logger.warning("{}: a new one is made", down)
        registry.prepare()


def _fit(db: Database, files: Sequence[Problem]) -> None:
    """Refuse an estimator that cannot learn, or could not be stored; what has served as it is declared needs no look."""
    with db.read() as tx:
        known = {model.name: model for model in models.every(tx)}
    for problem in files:
        model = known.get(problem.name)
        if problem.source != DECLARED:  # a fit of somebody's own code may never return, or end its process: a training has limits
            continue
        if model is not None and model.champion and model.declared == declared(problem):
            continue
        from ml.probe import faults  # a start without problem files does not pay for importing scikit-learn

        for loc, msg in faults(problem)[:1]:
            raise UnfitEstimator(f"{problem.name}: {'.'.join(loc)}: {msg}.")


def _declare(tx: Connection, problem: Problem) -> None:
    try:
        models.declare(tx, problem.name, declared(problem), problem.source, time.time())
    except MeaningChanged as changed:
        keys = " and ".join(changed.keys)
        said = f"{problem.name}: its file changes {keys}, of which the order counts too, but the model has data"
        raise ProblemChanged(f"{said}; give the problem a new name.") from None
    for line in warnings(problem.loop):
        logger.warning("{}: {}", problem.name, line)


def _started(tx: Connection, settings: Settings, count: int) -> NewJob:
    """People are told that the stack starts, with what it will do by itself."""
    now = time.time()
    line = (
        f"{count} models, each checked every {settings.check_interval_seconds:g} s; the built-in one keeps accuracy "
        f"{settings.performance_threshold:g}; Discord {'on' if settings.discord_webhook_url else 'off: told in the log'}"
    )
    incident = tell(tx, f"start:{new_id(now)}", None, "info", "told", "Continual ML starts", [line], now)
    payload = f'{{"incident_id":"{incident}"}}'.encode()
    return NewJob.make("notify", "-", "notify", now, settings.max_attempts, payload=payload, lane=f"notify:{incident}")
