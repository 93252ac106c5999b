"""Earlier versions that may serve again as they are, where a problem says `recall = true`: concepts that come back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from loguru import logger
from sqlalchemy import Connection

from ml.challenger import Recalled
from ml.model_file import RefusedModel
from registry.port import UnknownVersion
from storage import versions
from storage.versions import RECALLABLE, Version
from workers.history import History
from workers.shelf import Loaded


def earlier(tx: Connection, champion: Loaded | None) -> list[Version]:
    """The last ten versions, newest first, but for the champion; of those that are the same file the oldest counts."""
    if champion is None or not champion.problem.loop.recall:
        return []
    last = versions.listed(tx, champion.problem.name, RECALLABLE + 1, None).entries
    different = {each.sha256: each for each in last if each.sha256 != champion.version.sha256 and each.pruned_at is None}
    return list(different.values())[:RECALLABLE]


def candidates(found: Sequence[Version], past: History, pipeline: Callable[[Version], Any]) -> list[Recalled]:
    """Those of them whose file may be loaded, for a gate on the newest rows of `past`.

    Args:
        pipeline: gives a version's fitted pipeline, as `Shelf.pipeline` does.
    """
    loaded: list[Recalled] = []
    for version in found:
        try:
            model = pipeline(version)
        except (RefusedModel, UnknownVersion) as fault:
            logger.warning("{} version {} is not recalled: {}", version.model, version.name, fault)
            continue
        unseen = int((past.positions >= version.data["positions"][1]).sum())
        rows = int(version.metrics["rows"])
        loaded.append(Recalled(version.name, model, rows, tuple(version.classes or ()), unseen))
    return loaded
