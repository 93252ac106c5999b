"""How the whole is: database, broker, workers, registry and beat, each with a sentence for a person."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import msgspec
import redis

from jobs.kinds import PREDICT
from storage import heartbeats
from storage.database import FAULTS, Database
from storage.heartbeats import SILENT_S, Heartbeat

PING_S = 0.5
FRESH_S = 1.0


class Component(msgspec.Struct):
    """One part of the program."""

    status: str
    detail: str


class Pulse:
    """The broker's pulse, felt at most once a second."""

    def __init__(self, redis_url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=PING_S, socket_connect_timeout=PING_S)
        self._clock = clock
        self._lock = threading.Lock()
        self._felt, self._felt_at = Component("down", "not asked yet"), float("-inf")

    def feel(self) -> Component:
        """Whether the broker answers."""
        with self._lock:
            if self._clock() - self._felt_at >= FRESH_S:
                self._felt, self._felt_at = self._ping(), self._clock()
            return self._felt

    def _ping(self) -> Component:
        try:
            self._redis.ping()
        except (redis.RedisError, OSError) as fault:
            return Component("down", f"It does not answer ({type(fault).__name__}); jobs are accepted and wait in the database.")
        return Component("ok", "It answers.")


def components(database: Database, pulse: Pulse, now: float) -> dict[str, Component]:
    """Every component's state at `now` (epoch seconds)."""
    try:
        with database.read() as tx:
            signs = heartbeats.seen(tx, now - SILENT_S)
    except FAULTS as fault:
        blind = Component("down", "Unknown: its signs of life are in the database.")
        down = Component("down", f"It does not answer ({type(fault).__name__}); nothing is accepted.")
        return {"database": down, "broker": pulse.feel(), "workers": blind, "registry": blind, "beat": blind}
    return {
        "database": Component("ok", "It answers."),
        "broker": pulse.feel(),
        "workers": _workers([sign for sign in signs if sign.component == "worker"]),
        "registry": _registry([sign for sign in signs if sign.component == "registry"], now),
        "beat": _beat([sign for sign in signs if sign.component == "beat"]),
    }


def _workers(signs: Sequence[Heartbeat]) -> Component:
    if not any(PREDICT in sign.queues.split(",") for sign in signs):
        said = f"{len(signs)} alive, none of them on queue {PREDICT}." if signs else "None is alive."
        return Component("down", f"{said} Jobs are accepted and wait.")
    return Component("ok", f"{len(signs)} alive.")


def _registry(signs: Sequence[Heartbeat], now: float) -> Component:
    newest = max(signs, key=lambda sign: sign.seen_at, default=None)
    if newest is None:
        return Component("down", f"Nobody has looked at it for {SILENT_S:.0f} s. Champions serve on.")
    detail = newest.detail or f"Looked at {now - newest.seen_at:.0f} s ago."
    return Component("ok" if newest.ok else "down", detail)


def _beat(signs: Sequence[Heartbeat]) -> Component:
    if not signs:
        return Component("down", f"No sign of life for {SILENT_S:.0f} s: nothing is checked by itself.")
    return Component("ok", "It ticks.")
