"""What may be declared, by whoever comes at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from problems.catalog import builtin
from problems.declaration import declared
from storage import models
from storage.database import Database
from storage.models import MeaningChanged
from tests.storage.conftest import NOW

PLANE = declared(builtin())


def test_of_many_who_declare_a_model_at_once_one_has_created_it(db: Database) -> None:
    def declare(number: int) -> bool:
        with db.begin() as tx:
            return models.declare(tx, "plane", PLANE | {"threshold": number / 10}, "declared", NOW)

    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(declare, range(8)))
    assert sorted(created) == [False] * 7 + [True]


@pytest.mark.parametrize("key", ["task", "label", "features"])
def test_what_gives_rows_their_meaning_is_fixed_by_the_first_row(db: Database, key: str) -> None:
    """Features by their order too; all else may change, and what is refused changes nothing."""
    other = {"task": "multiclass", "label": "z", "features": dict(reversed(PLANE["features"].items()))}  # type: ignore[attr-defined]
    with db.begin() as tx:
        assert not models.declare(tx, "default", PLANE | {key: other[key]}, "declared", NOW)
        assert not models.declare(tx, "default", PLANE, "declared", NOW)
        models.take_positions(tx, "default", 3)
        with pytest.raises(MeaningChanged, match=f"{key} cannot change: 'default' has 3 labelled rows"):
            models.declare(tx, "default", PLANE | {key: other[key], "threshold": 0.1}, "declared", NOW)
        assert not models.declare(tx, "default", PLANE | {"threshold": 0.3}, "declared", NOW)
        found = models.lock(tx, "default")
    assert found.declared == PLANE | {"threshold": 0.3} and list(found.declared["features"]) == list(PLANE["features"])  # type: ignore[call-overload]
