"""Versions that nobody needs any more: marked in the ledger, then deleted from the registry and the disk, a few at a time.

Killed in between, or while the registry is away, it ends what is marked when it comes back to it. What a training has left
in the registry that came to nothing goes too: it was killed while it registered, or another version served by then.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from loguru import logger

from registry.port import RegistryDown
from storage import old_versions
from storage.old_versions import Leaving
from workers.room import Room
from workers.vigil import EvenClock

AT_ONCE = 5  # versions a second
EVERY_S = 3_600.0  # between two looks where there was nothing to do
AGAIN_S = 60.0  # after whatever went wrong
FRUITLESS_S = 2 * 86_400.0  # how old a training that came to nothing may be
OVER_S = 3_600.0  # no worker still believes in a training that ended so long ago


class OldVersions:
    """Prunes versions by and by; between two looks it asks nobody anything.

    Args:
        steady: a monotonic clock, seconds.
    """

    def __init__(self, room: Room, steady: Callable[[], float]) -> None:
        self.room = room
        self._steady, self._even = steady, EvenClock(room.clock, steady)
        self._next_at = 0.0
        self._down = False
        self._forgotten: set[str] = set()  # trainings that came to nothing, and have left nothing any more

    def prune(self) -> None:
        """Do a few, if it is time; to be called each second or so.

        Raises:
            DBAPIError, OSError: the ledger does not answer, or a file cannot be deleted; it is tried again in a minute.
        """
        now = self.room.clock()  # first: what is looked at next holds for this moment
        if not self._even.is_even() or self._steady() < self._next_at:
            return
        self._next_at = self._steady() + AGAIN_S
        with self.room.db.read() as tx:
            left = old_versions.leaving(tx, AT_ONCE)
        if not left:
            left = self._mark(now)
        try:
            for each in left:
                self._delete(each)
            more = bool(left) or self._forget_fruitless(now)
        except RegistryDown as down:
            if not self._down:
                logger.warning("pruned versions wait to be deleted: {}", down)
            self._down = True
            return
        self._down = False
        self._next_at = self._steady() + (0.0 if more else EVERY_S)

    def _mark(self, now: float) -> list[Leaving]:
        """Mark a few of the first model that has any; what is marked then."""
        before = now - self.room.settings.retention_days * 86_400
        with self.room.db.read() as tx:
            names = old_versions.candidates(tx, before)
        for name in names:
            mark = partial(old_versions.mark, name=name, before=before, now=now, most=AT_ONCE)
            if self.room.db.run(mark, patience_s=0):
                break
        with self.room.db.read() as tx:
            return old_versions.leaving(tx, AT_ONCE)

    def _forget_fruitless(self, now: float) -> bool:
        """Ask for a few trainings that came to nothing; whether there were any."""
        with self.room.db.read() as tx:
            every = old_versions.fruitless(tx, now - FRUITLESS_S, now - OVER_S)
        self._forgotten &= {job for _, job in every}
        few = [(model, job) for model, job in every if job not in self._forgotten][:AT_ONCE]
        for model, job in few:
            self.room.registry.forget_job(model, job)
            self._forgotten.add(job)
        return bool(few)

    def _delete(self, version: Leaving) -> None:
        """The registry first, which may be away: then the file waits with it. The last mark last: each step may be done twice."""
        self.room.registry.forget(version.model, version.name)
        self.room.artifacts.remove(version.artifact)
        self.room.db.run(lambda tx: old_versions.gone(tx, version, self.room.clock()))
        logger.info("{} version {} is pruned: its decision record stays", version.model, version.name)
