"""Watches the components of the stack, and tells when one is down and when it is back."""

from __future__ import annotations

import time
from collections.abc import Callable

import redis
from sqlalchemy import Connection

from storage import heartbeats, incidents, jobs
from storage.heartbeats import SILENT_S, Heartbeat
from storage.incidents import State
from workers.incidents import tell
from workers.room import Room

EVERY_S = 5.0
REST_S = 900.0  # what goes down again so soon is the same incident: a component that comes and goes is no flood of messages
START_S = 60.0  # after our own start, components may still be starting


class Watch:
    """Looks at every component each few seconds; two looks in a row make it down.

    Args:
        steady: a monotonic clock, seconds: when to look again is no matter of the time of day.
    """

    def __init__(self, room: Room, steady: Callable[[], float] = time.monotonic) -> None:
        self.room = room
        self._redis = redis.Redis.from_url(room.settings.redis_url, socket_timeout=1, socket_connect_timeout=1)
        self._steady = steady
        self._began = steady()
        self._last = float("-inf")
        self._downs: dict[str, int] = {}

    def look(self) -> None:
        """Look if it is time to, and tell of what changed."""
        now, turn = self.room.clock(), self._steady()
        if turn - self._last < EVERY_S:
            return
        self._last = turn
        faults = {"broker": self._broker(), **self._processes(now)}
        if turn - self._began < START_S:
            faults = {name: fault for name, fault in faults.items() if fault is None}
        self.room.db.run(lambda tx: self._tell(tx, faults, now), patience_s=2)

    def _broker(self) -> str | None:
        try:
            self._redis.ping()
        except redis.RedisError as fault:
            return f"it does not answer ({type(fault).__name__}); jobs are accepted and wait"
        return None

    def _processes(self, now: float) -> dict[str, str | None]:
        with self.room.db.read() as tx:
            seen = heartbeats.seen(tx, now - SILENT_S)
        return {name: _fault([sign for sign in seen if sign.component == name]) for name in ("worker", "registry", "beat")}

    def _tell(self, tx: Connection, faults: dict[str, str | None], now: float) -> None:
        for name, fault in faults.items():
            self._downs[name] = self._downs.get(name, 0) + 1 if fault else 0
            known = incidents.find_open(tx, f"component:{name}")
            if fault and known is None and self._downs[name] >= 2:
                self._add(tx, name, "failure", "opened", f"{name} is down", fault, now)
            elif fault is None and known is not None:
                self._add(
                    tx,
                    name,
                    "success",
                    "resolved",
                    f"{name} is back",
                    f"down for {now - known.opened_at:.0f} s",
                    now,
                )

    def _add(self, tx: Connection, name: str, kind: str, state: State, title: str, line: str, now: float) -> None:
        jobs.add(tx, [tell(self.room, tx, f"component:{name}", kind, state, title, [line], now, rest_s=REST_S)])


def _fault(signs: list[Heartbeat]) -> str | None:
    if not signs:
        return "no sign of life"
    bad = [sign.detail for sign in signs if not sign.ok]
    return bad[0] if len(bad) == len(signs) else None
