"""The Flask app: every room's parts wired to every noun's routes."""

from __future__ import annotations

import time
from collections.abc import Callable

from flask import Flask, Response, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from api import (
    auditing,
    bodies,
    datasets,
    docs,
    errors,
    feedback,
    generate,
    jobs,
    models,
    notifications,
    overview,
    predict,
    results,
    retrying,
    status,
    status_page,
    timeline,
    tokens,
    trials,
)
from api.auth import FAILURES_A_MINUTE
from api.envelope import Envelope
from api.front import Front
from api.health import Pulse
from api.house import House, house
from api.inspecting import Inspector
from api.known import KnownModels
from api.limits import Buckets
from api.pace import Pace
from api.snapshot import snapshot
from api.verified import Verified
from api.waiting import Waiting
from jobs.bell import Bell
from settings import Settings, parse_rate
from storage.artifacts import Artifacts
from storage.census import Census
from storage.database import Database
from telemetry.metrics import HttpMetrics, LedgerCollector

NOUNS = (
    *(predict, generate, datasets, feedback, jobs, retrying, results),
    *(models, timeline, notifications, trials, tokens, auditing, status, status_page, overview, docs),
)
THREADS_FOR_OTHERS = 16  # never taken by requests that wait


def create_app(settings: Settings, database: Database, redis_url: str, clock: Callable[[], float] = time.time) -> Flask:
    """The app on a migrated ledger. It starts three threads, that record, ring and listen for ends; `close` ends them."""
    app = Flask("api", static_folder=None)
    app.url_map.merge_slashes = False  # a redirect would be built from the Host header
    app.extensions["house"] = build(settings, database, redis_url, clock)
    for noun in NOUNS:
        app.register_blueprint(noun.routes)
    errors.install(app)
    app.before_request(_begin)
    app.after_request(_end)
    if hops := settings.proxy_hops:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]
    app.wsgi_app = Envelope(app.wsgi_app)  # type: ignore[method-assign]
    return app


def build(settings: Settings, database: Database, redis_url: str, clock: Callable[[], float]) -> House:
    """The parts of the house."""
    artifacts = Artifacts(settings.data_dir / "artifacts")
    bell, pace = Bell(redis_url, on_fault=errors.log.warning), Pace()
    key = settings.api_key
    metrics, every, census = HttpMetrics(), settings.check_interval_seconds, Census()
    metrics.registry.register(LedgerCollector(lambda: snapshot(database, census, clock(), every, artifacts.free_bytes())))
    return House(
        settings=settings,
        database=database,
        artifacts=artifacts,
        front=Front(database, bell, pace, artifacts, settings.max_queued),
        bell=bell,
        waiting=Waiting(database, redis_url, max(2, settings.api_threads - THREADS_FOR_OTHERS), pace),
        models=KnownModels(database),
        verified=Verified(database, key.get_secret_value() if key else None, clock),
        inspector=Inspector(),
        pulse=Pulse(redis_url),
        failures=Buckets(FAILURES_A_MINUTE, 60.0),
        rates=Buckets(*parse_rate(settings.rate_limit)) if settings.rate_limit else None,
        metrics=metrics,
        clock=clock,
    )


def close(app: Flask) -> None:
    """End every wait, deliver what is to be rung, let the database go."""
    parts: House = app.extensions["house"]
    parts.waiting.close()
    parts.front.close()
    parts.bell.close()
    parts.database.close()


def _begin() -> None:
    g.began = time.perf_counter()


def _end(response: Response) -> Response:
    if response.status_code >= 400 and response.status_code != 408:
        bodies.drain()
    rates = house().rates
    if rates is not None and "counted_for" in g:
        response.headers.extend(rates.headers(g.counted_for))
    rule = request.url_rule.rule if request.url_rule else "unknown"
    house().metrics.observe(request.method, rule, response.status_code, time.perf_counter() - g.began)
    return response
