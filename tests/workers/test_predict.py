"""How a group of predictions is claimed, on both ledgers: to PostgreSQL at once, where this process knows who serves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from problems.rows import PackedRows
from storage import champions, claims, jobs, ledger, models, versions
from tests.postgres import throwaway_database
from tests.workers.conftest import House
from tests.workers.test_loop import PLANE
from workers import tasks

ROW = PackedRows(1, np.array([[3.0, 3.0]]).tobytes()).encode()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def house(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """With a champion of `default` that has answered once, so that it is known here."""
    monkeypatch.setattr("storage.ids._last", 0)
    with throwaway_database() if request.param == "postgres" else nullcontext("") as url:
        made = House(tmp_path, database_url=url)
        with closing(made.room):
            yield known(made)


def known(house: House) -> House:
    house.declare()
    house.tick()
    house.predict(np.array([[3.0, 3.0]]))
    return house


def ask(house: House, model: str = "default", queue: str = "predict") -> str:
    new = house.room.new_job("predict", model, ROW)
    with house.db.begin() as tx:
        jobs.add(tx, [msgspec.structs.replace(new, queue=queue)])
    return new.id


def carry(house: House, *job_ids: str) -> None:
    tasks.carry(house.room, "predict", list(job_ids), "task")


def ends(house: House, job_ids: Sequence[str]) -> list[str]:
    return [house.job(job_id).status for job_id in job_ids]


def second_version(house: House, model: str = "default") -> None:
    """The same file under another number becomes champion of `model`."""
    with house.db.begin() as tx:
        first = versions.get(tx, "default", "1")
        assert first is not None
        versions.add(tx, replace(first, model=model, number=2))
        champions.serve(tx, model, "2", models.lock(tx, model).head, alias_pending=False)


def test_a_group_of_a_known_model_is_claimed_in_one_round_trip(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL is asked neither who serves nor for a second claim; the other jobs of the queue come along."""
    if house.db.sqlite:
        pytest.skip("a statement more is no journey to SQLite")
    for module, name in ((claims, "waiting"), (claims, "claim"), (models, "serving")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("a round trip more"))
    group = [ask(house) for _ in range(3)]
    carry(house, group[1])
    assert ends(house, group) == ["succeeded"] * 3
    assert {house.job(each).attempt for each in group} == {1}


def test_a_model_that_is_not_known_yet_is_loaded_while_the_others_are_answered(house: House) -> None:
    """Nothing that was claimed at once is left behind by the look for the file of another model."""
    house.declare("other", **PLANE)
    second_version(house, "other")
    group = [ask(house, "other"), ask(house), ask(house, "other")]
    carry(house, *group)
    assert ends(house, group) == ["succeeded"] * 3
    assert [house.result(each)["version"] for each in group] == ["2", "1", "2"]


def test_the_champion_of_the_moment_answers_though_another_was_known(house: House) -> None:
    second_version(house)
    first, companion = ask(house), ask(house)
    carry(house, first)
    carry(house, companion)
    assert [house.result(each)["version"] for each in (first, companion)] == ["2", "2"]


def test_a_declaration_that_was_changed_is_read_anew(house: House) -> None:
    """What is in memory is its old form: the labels' meaning is the declaration's."""
    before = house.room.shelf.at_hand("default")
    house.clock.now += 1.0
    with house.db.begin() as tx:
        models.change(tx, "default", updated_at=house.clock())
    job_id = ask(house)
    carry(house, job_id)
    assert ends(house, [job_id]) == ["succeeded"] and house.room.shelf.at_hand("default") is not before


def test_who_may_be_dangerous_travels_alone_though_its_model_is_known(house: House) -> None:
    companion, dangerous = ask(house), ask(house, queue=ledger.QUARANTINE)
    carry(house, dangerous)
    assert ends(house, [companion, dangerous]) == ["queued", "succeeded"]


def test_the_bell_of_a_table_has_the_single_rows_that_wait_answered_too(house: House) -> None:
    """Before the table, which takes longer."""
    companion = ask(house)
    house.room.artifacts.write("bodies/t/table.bin", [ROW])
    table = house.room.new_job("predict", "default", artifact="bodies/t/table.bin")
    with house.db.begin() as tx:
        jobs.add(tx, [msgspec.structs.replace(table, queue="bulk")])
    carry(house, table.id)
    assert ends(house, [companion, table.id]) == ["succeeded"] * 2
    assert {house.job(each).task_id for each in (companion, table.id)} == {"task"}


def test_a_prediction_without_a_champion_waits_beside_others_that_are_answered(house: House) -> None:
    """Its own task says that it waits for one, until when; the others' answers do not depend on it."""
    house.declare("unborn", **PLANE)
    waits, answered = ask(house, "unborn"), ask(house)
    carry(house, waits, answered)
    assert ends(house, [waits, answered]) == ["queued", "succeeded"]
    assert house.job(waits).task_id == "task"


def test_what_was_cancelled_or_is_done_is_not_claimed_again(house: House) -> None:
    done, cancelled, waits = ask(house), ask(house), ask(house)
    carry(house, done)
    with house.db.begin() as tx:
        jobs.cancel(tx, cancelled, house.clock())
    carry(house, done, cancelled, waits)
    assert [house.job(each).attempt for each in (done, waits)] == [1, 1]
