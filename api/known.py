"""What the ledger knows of models, kept in memory for a second, so that accepting a prediction asks the database nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from api.errors import not_found
from problems.declaration import MODEL_NAME, Problem
from storage import models
from storage.database import Database
from storage.models import Model

FRESH_S = 1.0


@dataclass(frozen=True, slots=True)
class Known:
    """A model and its problem, as read at a moment."""

    model: Model
    problem: Problem
    read_at: float


class KnownModels:
    """A cache of the models table."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self._known: dict[str, Known] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Known:
        """The model, at most a second old.

        Raises:
            Refused: 404, there is no such model.
        """
        return self.at_hand(name) or self.read(name)

    def at_hand(self, name: str) -> Known | None:
        """As `get`, but None where the ledger would have to be asked."""
        known = self._known.get(name)
        return known if known is not None and self._clock() - known.read_at < FRESH_S else None

    def read(self, name: str) -> Known:
        """The model as it is now; otherwise as `get`."""
        now, known = self._clock(), self._known.get(name)
        model = None
        if MODEL_NAME.fullmatch(name):
            with self._database.read() as tx:
                model = models.get(tx, name)
        if model is None:
            raise not_found(f"Model {name[:64]!r}")
        same = known is not None and known.model.updated_at == model.updated_at and known.model.declared == model.declared
        fresh = Known(model, known.problem if known is not None and same else model.problem, now)
        with self._lock:
            self._known[name] = fresh
        return fresh

    def forget(self, name: str) -> None:
        """Drop what is known of a model: it has just been changed."""
        with self._lock:
            self._known.pop(name, None)
