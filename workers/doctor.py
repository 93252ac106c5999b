"""What only the machine of the stack can see: settings, stores, processes, disk and webhook, each with what to mend.

`python -m workers doctor` prints the findings as JSON; `continual doctor` shows them.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import redis
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from jobs.kinds import QUEUES
from settings import Settings
from storage import heartbeats, ledger
from storage.database import FAULTS, Database
from storage.heartbeats import SILENT_S, Heartbeat
from storage.migrate import is_current

FLOOR_BYTES = 256 << 20  # below it the API accepts nothing
NEARLY_FULL = 0.95
ANSWER_S = 5.0
OLD_S = 120.0  # a job that has waited so long while workers live is nobody's
PASSWORD = ("password authentication failed", "no password supplied", "authentication failed")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: whether it is well, in a sentence, and what to do if not."""

    name: str
    ok: bool
    detail: str
    mend: str = ""


def examine(settings: Settings, clock: Callable[[], float] = time.time) -> list[Finding]:
    """All findings. Nothing is changed, and no message is sent."""
    sound = Finding("settings", True, "Every variable makes sense.")
    return [sound, *_ledger(settings, clock()), _broker(settings), _disk(settings), _webhook(settings)]


def _ledger(settings: Settings, now: float) -> Iterator[Finding]:
    """The database, and what stands in it: signs of life and the queue."""
    url = make_url(settings.ledger_url)
    where = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():  # a look must not make one
        mend = "Run this where the stack runs, with its DATA_DIR or its .env; or start one: `make up`."
        yield Finding("database", False, f"{where} does not exist.", mend)
        return
    database = Database(settings.ledger_url, pool_size=1)
    try:
        current = is_current(database)
        with database.read() as tx:
            signs, waiting = (heartbeats.seen(tx, now - SILENT_S), ledger.backlog(tx)) if current else ([], {})
    except FAULTS as fault:
        yield _no_database(where, fault)
        return
    finally:
        database.close()
    if not current:
        mend = "Run `python -m workers prepare` (compose: `docker compose up prepare`)."
        yield Finding("database", False, f"{where} lacks the newest tables.", mend)
        return
    yield Finding("database", True, f"{where} answers.")
    yield from _processes(signs)
    yield _queue(waiting, now)


def _no_database(where: str, fault: Exception) -> Finding:
    if isinstance(fault, OperationalError) and any(said in str(fault.orig).lower() for said in PASSWORD):
        return Finding(
            "database", False, f"{where} refuses the password.", "Set the right password in DATABASE_URL (POSTGRES_PASSWORD)."
        )
    mend = "Start the database, or set DATABASE_URL right; nothing is accepted meanwhile."
    return Finding("database", False, f"{where} does not answer ({type(fault).__name__}).", mend)


def _processes(signs: Sequence[Heartbeat]) -> Iterator[Finding]:
    workers = [sign for sign in signs if sign.component == "worker"]
    served = {queue for sign in workers for queue in sign.queues.split(",")}
    alone = [queue for queue in QUEUES if queue not in served]
    mend = "Start them: `docker compose up -d` or `make up`; data/logs or `docker compose logs worker` says why they ended."
    if not workers:
        yield Finding("workers", False, f"None has given a sign of life for {SILENT_S:.0f} s; jobs wait.", mend)
    else:
        said = f"{len(workers)} alive" + (f", nobody serves: {', '.join(alone)}" if alone else ", every queue is served")
        yield Finding("workers", not alone, said, mend)
    for name, why in (("beat", "nothing is checked by itself"), ("sweeper", "jobs of lost workers are not taken back")):
        there = any(sign.component == name for sign in signs)
        said = "It ticks." if there else f"No sign of life for {SILENT_S:.0f} s: {why}."
        yield Finding(name, there, said, f"Start it: `docker compose up -d {name}`; under `make up` see data/logs/{name}.log.")
    yield _registry([sign for sign in signs if sign.component == "registry"])


def _registry(signs: Sequence[Heartbeat]) -> Finding:
    newest = max(signs, key=lambda sign: sign.seen_at, default=None)
    if newest is None:
        return Finding("registry", False, f"Nobody has looked at it for {SILENT_S:.0f} s.", "Start the sweeper, which looks.")
    return Finding("registry", newest.ok, newest.detail or "MLflow answers.", "Start MLflow, or set MLFLOW_TRACKING_URI right.")


def _queue(waiting: dict[str, tuple[int, float]], now: float) -> Finding:
    count = sum(length for length, _ in waiting.values())
    oldest = max((now - since for length, since in waiting.values() if length), default=0.0)
    said = f"{count:,} {'job' if count == 1 else 'jobs'} wait, the oldest for {oldest:,.0f} s"
    return Finding("queue", oldest < OLD_S, said, "Workers are down or too few: see workers, or scale them (--scale worker=N).")


def _broker(settings: Settings) -> Finding:
    url = settings.broker_url
    if not url:
        return Finding(
            "broker", False, "No REDIS_URL, and no embedded broker was ever started here.", "Set REDIS_URL, or `make up`."
        )
    where = make_url(url).render_as_string(hide_password=True) if "://" in url else "the broker"
    client = redis.Redis.from_url(url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S)
    try:
        client.ping()
        memory: Any = client.info("memory")
    except redis.AuthenticationError:
        return Finding("broker", False, f"{where} refuses the password.", "Set the right password in REDIS_URL (REDIS_PASSWORD).")
    except (redis.RedisError, OSError) as fault:
        mend = "Start it: `docker compose up -d redis` or `make up`. Jobs are accepted and wait meanwhile."
        return Finding("broker", False, f"{where} does not answer ({type(fault).__name__}).", mend)
    finally:
        client.close()
    used, most = int(memory["used_memory"]), int(memory.get("maxmemory") or 0)
    if most and used > NEARLY_FULL * most:
        return Finding(
            "broker", False, f"{where}: {used >> 20} of {most >> 20} MiB used.", "Raise its maxmemory, or start workers."
        )
    return Finding("broker", True, f"{where} answers.")


def _disk(settings: Settings) -> Finding:
    folder = settings.data_dir.resolve()
    disk = shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists()))
    free, size = disk.free, disk.total
    said = f"{free >> 20:,} MiB of {size >> 20:,} free in {folder}"
    full = free < 2 * FLOOR_BYTES or free < (1 - NEARLY_FULL) * size
    mend = f"Make room, or lower RETENTION_DAYS; below {FLOOR_BYTES >> 20} MiB nothing is accepted."
    return Finding("disk", not full, said, mend)


def _webhook(settings: Settings) -> Finding:
    """Asks Discord whether the webhook is still there, without a message."""
    if settings.discord_webhook_url is None:
        return Finding("webhook", True, "None is set: people are told in the log and on the dashboard.")
    try:
        with httpx.Client(timeout=ANSWER_S, follow_redirects=False) as client:
            status = client.get(settings.discord_webhook_url.get_secret_value()).status_code
    except httpx.HTTPError as fault:
        mend = "Is this machine let out to discord.com? Notifications are tried again meanwhile."
        return Finding("webhook", False, f"It cannot be reached ({type(fault).__name__}).", mend)
    if status in (401, 403, 404):
        mend = "It was deleted: make a new one in Discord, and set DISCORD_WEBHOOK_URL."
        return Finding("webhook", False, f"Discord does not know it any more ({status}).", mend)
    return Finding(
        "webhook", status < 400, f"Discord answers {status}.", "Ask again later; notifications are tried again meanwhile."
    )
