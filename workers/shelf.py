"""The shelf: models in memory, keyed by their immutable version. Which one serves is read from the ledger for each task."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from loguru import logger
from sqlalchemy import Connection

from ml.model_file import RefusedModel, SwappedModel, load
from problems.declaration import Problem
from registry.port import ModelRegistry, RegistryDown, UnknownVersion
from storage import models, versions
from storage.artifacts import Artifacts
from storage.claims import Served
from storage.models import Model
from storage.versions import Version

KEPT = 32  # versions in memory, and models that are served from there
IDLE_S = 60.0  # a group may be of more models than that: so long each of them stays


class NotAtHand(LookupError):
    """A version has to be loaded first, which takes a while."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version that can predict: its problem, its row in the ledger, the fitted pipeline, and who answers a share for it."""

    problem: Problem
    version: Version
    pipeline: Any
    canary: Loaded | None = None

    def answering(self, job_id: str, attempt: int) -> Loaded:
        """Who answers this job: the canary, if the job's hash falls into its share and nobody has tried the job before.

        So it is always the same one that begins a job, and what took its worker down is answered by the champion.
        """
        loop = self.problem.loop
        if self.canary is None or attempt > 1 or loop.trial != "canary":
            return self
        return self.canary if share_of(job_id) < loop.canary_share else self


def share_of(job_id: str) -> float:
    """Where an id falls in [0, 1): evenly, and always the same."""
    return int.from_bytes(hashlib.blake2b(job_id.encode(), digest_size=8).digest()) / 2**64


class Shelf:
    """Loads each version once per process, from its artifact, or from the registry where that is missing.

    Args:
        steady: a monotonic clock, seconds.

    Attributes:
        refused: champions, and predecessors of them, whose file was refused, each with the reason: for the caller to tell.
    """

    def __init__(self, artifacts: Artifacts, registry: ModelRegistry, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self.refused: list[tuple[Version, str]] = []
        self._artifacts = artifacts
        self._registry = registry
        self._problems: dict[str, tuple[float, Problem]] = {}
        self._serving: OrderedDict[str, tuple[Served, Loaded]] = OrderedDict()  # last who was asked last
        self._asked_at: dict[str, float] = {}
        self._kept: OrderedDict[str, Any] = OrderedDict()  # by the file's hash
        self._lock = threading.Lock()  # the preloader has a thread of its own

    def problem(self, model: Model) -> Problem:
        """The model's problem, parsed once per change of its declaration."""
        known = self._problems.get(model.name)
        if known is None or known[0] != model.updated_at:
            known = self._problems[model.name] = (model.updated_at, model.problem)
        return known[1]

    def problem_of(self, tx: Connection, name: str) -> Problem:
        """The problem of a model by name.

        Raises:
            KeyError: there is no such model.
        """
        model = models.get(tx, name)
        if model is None:
            raise KeyError(name)
        return self.problem(model)

    def champion(self, tx: Connection, name: str, load: bool = True) -> Loaded | None:
        """The version that serves now, or None while there is none.

        A file that is not the one the ledger knows is refused; the version that it replaced serves meanwhile.

        Args:
            load: False where the caller must not wait for a file, since it holds a lock.

        Raises:
            NotAtHand: the version is not in memory yet, and `load` is False.
            RefusedModel: neither its file may be loaded, nor that of an earlier version.
        """
        now = models.serving(tx, name)
        if now is None or now.champion is None:
            return None
        known = self._serving.get(name)
        if known and known[0] == now:
            return self.at_hand(name)
        if not load:
            raise NotAtHand(name)
        champion = self._load_champion(tx, name)
        loaded = replace(champion, canary=self._canary(tx, champion, now.canary)) if now.canary else champion
        self._serving[name] = (now, loaded)
        self._make_room()
        return self.at_hand(name)

    def _make_room(self) -> None:
        """Forget models that nobody asks for, where there are many."""
        while len(self._serving) > KEPT:
            oldest = next(iter(self._serving))
            if self._steady() - self._asked_at[oldest] < IDLE_S:
                return
            del self._serving[oldest], self._asked_at[oldest]

    def served(self) -> list[Served]:
        """Who served the models that were asked last, as far as this process knows, with what it has in memory: a few."""
        return [known for known, _ in islice(reversed(self._serving.values()), KEPT)]

    def at_hand(self, name: str) -> Loaded:
        """The version that serves a model of `served`."""
        self._serving.move_to_end(name)
        self._asked_at[name] = self._steady()
        return self._serving[name][1]

    def _canary(self, tx: Connection, champion: Loaded, name: str) -> Loaded | None:
        """The challenger that answers a share; None where it cannot be had: the champion answers all, the next check ends it."""
        version = versions.get(tx, champion.problem.name, name)
        try:
            return Loaded(champion.problem, version, self.pipeline(version)) if version else None
        except (RefusedModel, RegistryDown, UnknownVersion) as fault:
            logger.warning("{} version {} answers no share: {}", champion.problem.name, name, fault)
            return None

    def _load_champion(self, tx: Connection, name: str) -> Loaded:
        model = models.get(tx, name)
        version = versions.get(tx, name, model.champion) if model and model.champion else None
        while model is not None and version is not None:
            try:
                return Loaded(self.problem(model), version, self.pipeline(version))
            except RefusedModel as refused:
                self.refused.append((version, str(refused)))
                before = versions.get(tx, name, version.promoted_from) if version.promoted_from else None
                if before is None or before.pruned_at is not None:
                    raise
                version = before
        raise KeyError(name)

    def pipeline(self, version: Version) -> Any:
        """The version's fitted pipeline.

        Raises:
            RefusedModel: neither the artifact nor the registry's copy has the hash that the ledger knows, or its types
                are not trusted.
            RegistryDown: the artifact is missing and the registry does not answer.
            UnknownVersion: the artifact is missing and the registry has none; or the version was pruned.
        """
        if version.pruned_at is not None:
            raise UnknownVersion(f"version {version.name} of {version.model} was pruned")
        with self._lock:
            if version.sha256 in self._kept:
                self._kept.move_to_end(version.sha256)
                return self._kept[version.sha256]
        return self._keep(version.sha256, self._load(version))

    def preload(self, artifact: str, sha256: str) -> None:
        """Bring a file into memory that may serve soon.

        Raises:
            RefusedModel: it has another hash, or types that are not trusted.
            OSError: it cannot be read.
            ValueError: its name leads out of the artifacts' folder.
        """
        with self._lock:
            known = sha256 in self._kept
        if not known:
            self._keep(sha256, load(self._artifacts.path(artifact), sha256))

    def _keep(self, sha256: str, pipeline: Any) -> Any:
        with self._lock:
            self._kept[sha256] = pipeline
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return pipeline

    def _load(self, version: Version) -> Any:
        path, swapped = self._artifacts.path(version.artifact), None
        try:
            if path.exists():
                return load(path, version.sha256)
        except SwappedModel as fault:
            logger.error("{} version {}: {}; asking the registry", version.model, version.name, fault)
            swapped = fault
        try:
            with self._artifacts.writing(version.artifact) as draft:
                self._registry.fetch(version.model, version.name, draft)
        except UnknownVersion as unknown:
            raise swapped or unknown from None
        return load(path, version.sha256)
