"""From a decision record alone: the same training, the same bytes; and where that cannot be, what is in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from ml.generator import generate
from storage import champions, decisions, labels, versions
from storage.decisions import Decision
from storage.schema import decisions as decision_rows
from storage.schema import predictions
from tests.workers.conftest import House
from tests.workers.test_loop import feed
from workers import lineage
from workers.reproduce import CannotReproduce, run


@pytest.fixture
def drifted(house: House) -> House:
    """A house that has trained by itself, on data and on labels, and promoted twice."""
    house.tick()
    feed(house, 200, "concept", 0)
    house.tick()
    assert house.model().champion == "2"
    return house


def recorded(house: House, model: str = "default") -> Sequence[Decision]:
    with house.db.read() as tx:
        return decisions.listed(tx, model, 100, None).entries[::-1]


def test_another_process_trains_the_same_bytes_from_the_record_of_each_promotion(drifted: House) -> None:
    """`make reproduce`'s command: exit status 0, and the hash is that of the version's file."""
    promoted = [each for each in recorded(drifted) if each.action == "promote"]
    assert [each.version for each in promoted] == ["1", "2"]
    for each in promoted:
        with drifted.db.read() as tx:
            version = versions.get(tx, "default", str(each.version))
        assert version is not None
        environment = os.environ | {"DATA_DIR": str(drifted.settings.data_dir), "PYTHONHASHSEED": "7"}
        command = [sys.executable, "-m", "workers", "reproduce", each.id]
        told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (told.returncode, told.stderr) == (0, "")
        assert told.stdout == f"the same: version {version.name} of default, SHA-256 {version.sha256}\n"


def test_labels_count_as_they_stood_when_they_were_learnt(house: House) -> None:
    """All are corrected afterwards, some twice: the same model."""
    house.tick()
    rows, truth = generate(200, 2, 0.05, "concept", 1.0, 0)
    job = house.predict(rows)
    house.label(job, truth)
    house.tick()
    promotion = recorded(house)[-1]
    assert promotion.version == "2"
    house.clock.now += 60
    house.label(job, 1 - truth)
    house.clock.now += 60
    house.label(job, truth[:50])
    assert run(house.room, promotion.id).faults == []


@pytest.mark.parametrize("late", [False, True], ids=["under way", "a clock ahead"])
def test_a_correction_whose_time_is_not_its_place_does_not_stand_in_the_way(house: House, late: bool) -> None:
    """One that was under way says that it came before the reading; one of a machine whose clock is ahead, after it."""
    house.tick()
    rows, truth = generate(200, 2, 0.05, "concept", 1.0, 0)
    job = house.predict(rows)
    house.label(job, 1 - truth[:1])
    house.clock.now += 10
    house.label(job, truth[:100])
    house.clock.now += 10
    house.label(job, truth)
    given = [((job, row), str(1 - truth[row])) for row in range(5)]
    if not late:
        house.tick()
    with house.db.begin() as tx:
        labels.store(tx, "default", given, lambda: house.clock() + (40 if late else -1))
    if late:
        house.tick()
    promotion = recorded(house)[-1]
    assert promotion.version == "2"
    house.clock.now += 100
    house.label(job, 1 - truth)
    assert run(house.room, promotion.id).faults == []


def test_the_moment_of_reading_is_kept_as_the_contract_writes_times(drifted: House) -> None:
    """Records are answered as they are: RFC 3339, and exact to the microsecond both ways."""
    told = recorded(drifted)[-1].evidence["data"]["read_at"]
    assert told == "2026-11-18T11:07:40.000000Z"
    assert lineage.epoch(told) == drifted.clock()
    assert lineage.epoch(lineage.moment(1_795_000_000.123457)) == 1_795_000_000.123457


def test_a_rejected_training_gives_the_same_scores(drifted: House) -> None:
    """There is no model to compare; the candidates' figures are."""
    asked = {"reason": "growth", "change_position": None, "from_version": "2", "seed": 300}
    drifted.post("train", payload=json.dumps(asked).encode())
    drifted.settle()
    ended = recorded(drifted)[-1]
    again = run(drifted.room, ended.id)
    assert (ended.action, again.faults) == ("reject", [])
    assert "rejected candidates" in again.made


def test_a_rollback_gives_the_version_that_it_went_back_to(drifted: House) -> None:
    """It trained nothing itself."""
    with drifted.db.begin() as tx:
        decision = champions.roll_back(tx, "default", "ada", drifted.clock())
    assert "version 1 of default" in run(drifted.room, decision.id).made


def test_what_is_in_the_way_is_said(drifted: House) -> None:
    """An unknown decision; rows that are gone; another version of a library."""
    with pytest.raises(CannotReproduce, match="There is no decision 7"):
        run(drifted.room, "7")
    second = recorded(drifted)[-1]
    older = dict(second.evidence)
    older["data"] = older["data"] | {"libraries": {**older["data"]["libraries"], "numpy": "1.0"}}
    with drifted.db.begin() as tx:
        tx.execute(update(decision_rows).where(decision_rows.c.id == second.id).values(evidence=older))
    again = run(drifted.room, second.id)
    assert again.faults == []
    assert [line for line in again.around if line.startswith("numpy is ") and line.endswith("was 1.0")] == again.around
    with drifted.db.begin() as tx:
        tx.execute(delete(predictions))
    with pytest.raises(CannotReproduce, match=r"1,000 of the 1,200 rows are still there"):
        run(drifted.room, second.id)


def test_rows_that_are_others_than_then_are_not_learnt(drifted: House) -> None:
    """A dataset's file whose content was changed: its hash tells."""
    first = next(each for each in recorded(drifted) if each.action == "promote")
    (file,) = Path(drifted.settings.data_dir).glob("artifacts/datasets/**/*.arrow")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(CannotReproduce, match="The rows are not those of then"):
        run(drifted.room, first.id)
