"""Whose a token is: asked of the ledger, remembered for a second, forgotten at once when a token is revoked here."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from storage import tokens
from storage.database import Database

Role = Literal["viewer", "client", "operator", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
FRESH_S = 1.0
MOST_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose token it is; `token_id` is the row's, or `api_key`."""

    token_id: str
    name: str
    role: str


@dataclass(frozen=True, slots=True)
class _Seen:
    caller: Caller
    until: float  # steady clock: when it has to be asked for again
    expires_at: float | None  # epoch seconds


def hash_of(secret: str) -> str:
    """The hex SHA-256 under which a token is stored. A header may hold any bytes; WSGI gives them as latin-1."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def includes(role: str, wanted: Role) -> bool:
    """Whether somebody of this role may do what is for `wanted`; nobody of an unknown one may do anything."""
    return role in ROLES and ROLES.index(role) >= ROLES.index(wanted)


class Verified:
    """A cache of the tokens table, by hash. What is unknown is never remembered: a new token opens the door at once.

    Args:
        api_key: the admin's secret of the environment; None if there is none.
        clock: epoch seconds; tokens expire by it, to the moment.
        steady: a monotonic clock, seconds.
    """

    def __init__(
        self,
        database: Database,
        api_key: str | None,
        clock: Callable[[], float],
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._clock, self._steady = database, clock, steady
        self._key_hash = hash_of(api_key) if api_key is not None else None
        self._seen: dict[str, _Seen] = {}
        self._changes = 0
        self._lock = threading.Lock()

    def caller(self, digest: str) -> Caller | None:
        """Whose token has this hash; None if nobody's, or it has expired."""
        return self.at_hand(digest) or self.look(digest)

    def at_hand(self, digest: str) -> Caller | None:
        """As `caller`, but None as well where the ledger would have to be asked."""
        if self._key_hash is not None and hmac.compare_digest(digest, self._key_hash):
            return Caller("api_key", "API_KEY", "admin")
        seen = self._seen.get(digest)
        if seen is None or self._steady() >= seen.until or self._over(seen.expires_at):
            return None
        return seen.caller

    def look(self, digest: str) -> Caller | None:
        """As `caller`, asked afresh."""
        changes, asked_at = self._changes, self._steady()
        with self._database.read() as tx:
            token = tokens.find(tx, digest)
        if token is None or self._over(token.expires_at):
            return None
        found = Caller(token.id, token.name, token.role)
        with self._lock:
            if self._changes == changes:  # else it may have been revoked since it was read
                if len(self._seen) >= MOST_KEPT:
                    self._seen.clear()
                self._seen[digest] = _Seen(found, asked_at + FRESH_S, token.expires_at)
        return found

    def forget(self) -> None:
        """A token was revoked: ask for each again."""
        with self._lock:
            self._changes += 1
            self._seen.clear()

    def _over(self, expires_at: float | None) -> bool:
        return expires_at is not None and expires_at <= self._clock()
