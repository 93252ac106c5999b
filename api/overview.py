"""What is going on, at one look: queues, workers, throughput; and the settings that all this runs under."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
from flask import Response
from pydantic import AliasChoices, SecretStr

from api.house import house
from api.routes import ListOf, Routes
from api.views import Moment, answer, moment
from jobs.kinds import QUEUES
from settings import Settings
from storage import heartbeats, ledger, predictions
from storage.heartbeats import FORGET_S, SILENT_S, Heartbeat

RATE_S = 10.0
routes = Routes("overview")


class QueueView(msgspec.Struct):
    """A queue: jobs that wait in it, and the age of the oldest in seconds, 0 if none does."""

    name: str
    length: int
    oldest_age_s: float


class ProcessView(msgspec.Struct):
    """A process that works for this ledger; `jobs` are those that it holds now."""

    name: str
    component: str
    queues: Sequence[str]
    up: bool
    jobs: int
    seen_at: Moment


class OverviewView(msgspec.Struct):
    """What waits, what runs, who works, and how much: rows predicted a second, over the last ten."""

    at: Moment
    queues: Sequence[QueueView]
    queued: int
    running: int
    processes: Sequence[ProcessView]
    predictions_per_s: float


@routes.on("GET", "/overview", "viewer", "Queues, workers and throughput.", answers={200: OverviewView})
def get_overview() -> Response:
    parts, now = house(), house().clock()
    with parts.database.read() as tx:
        waiting, owners = ledger.backlog(tx), ledger.owners(tx)
        signs = heartbeats.seen(tx, now - FORGET_S)
        rows = predictions.rows_since(tx, now - RATE_S)
    queues = [_queue(name, *waiting.get(name, (0, now)), now) for name in QUEUES]
    processes = [_process(sign, owners, now) for sign in signs]
    queued = sum(each.length for each in queues)
    return answer(OverviewView(str(moment(now)), queues, queued, len(owners), processes, rows / RATE_S))


def _queue(name: str, length: int, oldest: float, now: float) -> QueueView:
    return QueueView(name, length, max(0.0, now - oldest))


def _process(sign: Heartbeat, owners: Sequence[str], now: float) -> ProcessView:
    queues = [name for name in sign.queues.split(",") if name]
    held = sum(owner.startswith(sign.name) for owner in owners) if sign.component == "worker" else 0
    return ProcessView(sign.name, sign.component, queues, sign.seen_at > now - SILENT_S, held, str(moment(sign.seen_at)))


class SettingView(msgspec.Struct):
    """A setting as this process reads it; of a secret only whether it is set, of a URL nothing that opens it."""

    name: str
    value: Any
    default: Any
    secret: bool
    text: str


@routes.on(
    "GET",
    "/settings",
    "viewer",
    "The settings in effect, without secrets.",
    answers={200: ListOf("settings", SettingView, paged=False)},
)
def get_settings() -> Response:
    settings = house().settings
    return answer({"settings": [_setting(settings, name) for name in Settings.model_fields]})


def _setting(settings: Settings, name: str) -> SettingView:
    field = Settings.model_fields[name]
    alias = field.validation_alias
    variable = str(alias.choices[0]) if isinstance(alias, AliasChoices) else name.upper()
    value, secret = getattr(settings, name), "SecretStr" in str(field.annotation)
    shown = isinstance(value, SecretStr) if secret else _plain(value)
    return SettingView(variable, shown, False if secret else _plain(field.default), secret, str(field.description))


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return without_login(text) if "://" in text else text


def without_login(url: str) -> str:
    """A URL without the user, the password and the query that may stand in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
