"""Keeps the registry's alias `champion` and the ledger in step, both ways: our promotions go out, a move by hand comes in.

The alias `challenger` only goes out: it names the version on trial.
"""

from __future__ import annotations

from loguru import logger
from sqlalchemy import Connection

from registry.port import RegistryDown, UnknownVersion
from storage import champions, heartbeats, incidents, jobs, models, trials, versions
from storage.heartbeats import Heartbeat
from storage.incidents import State
from workers.incidents import tell
from workers.room import Room, worker_name


class Aliases:
    """Follows the aliases of all models; remembers which foreign moves it has refused, and what is lost, to say so once."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self._refused: dict[str, str] = {}
        self._lost: dict[str, str] = {}  # champions whose version the registry has no more

    def follow(self) -> None:
        """Bring each model's alias and champion together once, and note whether the registry answers."""
        detail, ok = "", True
        try:
            with self.room.db.read() as tx:
                served = [(name, model) for name in models.names(tx) if (model := models.get(tx, name)) and model.champion]
            for name, model in served:
                self._one(name, str(model.champion), model.alias_pending)
            if not served:
                self.room.registry.ping()
        except RegistryDown as down:
            detail, ok = str(down), False
        now = self.room.clock()
        name = worker_name("registry")
        self.room.db.run(lambda tx: heartbeats.beat(tx, Heartbeat(name, "registry", "", ok, detail, now)), patience_s=0)

    def _one(self, name: str, champion: str, pending: bool) -> None:
        if pending:
            self._push(name, champion)
            return
        alias = self.room.registry.champion(name)
        if alias is None:
            self._push(name, champion)
        elif alias != champion and self._refused.get(name) != alias:
            self._adopt(name, champion, alias)

    def _push(self, name: str, version: str) -> None:
        with self.room.db.read() as tx:
            challenger = trials.challengers(tx).get(name)
        try:
            self.room.registry.set_champion(name, version)
            self.room.registry.set_challenger(name, challenger)
        except UnknownVersion:
            if self._lost.get(name) != version:
                logger.error("the registry has lost a version of {}; {} serves from its own file", name, version)
            self._lost[name] = version

        def settled(tx: Connection) -> None:
            if models.lock(tx, name).champion == version and trials.challengers(tx).get(name) == challenger:
                models.change(tx, name, alias_pending=False)

        self.room.db.run(settled)

    def _adopt(self, name: str, champion: str, alias: str) -> None:
        """Follow a move made by hand; a version that the ledger does not know has no hash to trust, and is refused."""

        def follow(tx: Connection) -> bool:
            now = self.room.clock()
            decision = champions.adopt(tx, name, alias, now)
            current = models.lock(tx, name)
            if decision is None and (current.alias_pending or current.champion != champion):
                return True  # the ledger has moved on meanwhile: look again next time
            line = decision.reason if decision else f"{_why(tx, name, alias)} and is refused; version {champion} serves on"
            title, key = f"The champion of {name} was moved by hand", f"alias:{name}:{alias}:{now}"
            where: list[tuple[str, State]] = incidents.where_to_tell(tx, name, key) if decision else [(key, "told")]
            jobs.add(tx, [tell(self.room, tx, key, "warning", state, title, [line], now, name) for key, state in where])
            return decision is not None

        if not self.room.db.run(follow):
            logger.error("{}: the alias 'champion' names version {}, which cannot serve; refused", name, alias)
            self._refused[name] = alias
        else:
            self._refused.pop(name, None)


def _why(tx: Connection, name: str, version: str) -> str:
    """What is wrong with a version that was refused."""
    known = versions.get(tx, name, version)
    return f"version {version} {'was pruned after RETENTION_DAYS' if known else 'was not trained here'}"
