"""How a trial ends without a proof: by rows, by days, by the challenger's own alarm, by a newer version, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import update

from ml.evidence import LAMBDAS, Evidence
from ml.generator import generate
from ml.trial import Standing
from storage import incidents, trials
from storage.schema import versions as versions_table
from tests.workers.conftest import House
from tests.workers.test_loop import feed
from tests.workers.test_trial import declare, on_trial, recorded, train_now, trial_of, tried
from workers.aliases import Aliases


def unproven(house: House, rows: int) -> None:
    """So many rows of the trial are behind it, and no proof is near."""
    far = Evidence(rows=rows, wealth=(-50.0,) * len(LAMBDAS))
    found = trial_of(house)
    assert found is not None
    with house.db.begin() as tx:
        assert trials.advance(tx, replace(found, standing=Standing(better=far, worse=far).to_dict()))
        tx.execute(update(versions_table).where(versions_table.c.number == 2).values(classes=[0, 1, 2]))


@pytest.mark.parametrize(("behind", "days", "ended"), [(1_980, 0, "2,000 rows"), (980, 3, "2 days")])
def test_without_proof_the_metric_decides_in_the_end(house: House, behind: int, days: int, ended: str) -> None:
    """After 2,000 rows, or when its time is over; the classes that it knows besides are the model's from then on."""
    tried(house, "shadow", trial_days=2)
    unproven(house, behind)
    feed(house, 20, "concept", 3)
    house.tick(30 + days * 86_400)
    last = recorded(house)[-1]
    assert (last.action, last.version, house.model().champion) == ("promote", "2", "2")
    assert last.reason.endswith(f"neither was proven better in {ended}.")
    assert house.model().classes == [0, 1, 2]


def test_a_growth_that_stood_its_trial_is_looked_at_no_further(house: House) -> None:
    """There was no change that it could have been learnt from too early."""
    declare(house, trial="shadow")
    house.tick()
    feed(house, 90, "concept", 0)
    train_now(house, "1", 90, "growth")
    unproven(house, 1_980)
    feed(house, 20, "concept", 3)
    house.tick()
    assert (house.model().champion, house.model().follow_up_at) == ("2", None)


@pytest.mark.parametrize("pieces", [1, 20])
def test_a_challenger_out_of_date_itself_is_rejected_and_the_drift_trains_anew_at_that_check(house: House, pieces: int) -> None:
    """Labels that follow no rule at all: neither is better, both are worse than they were, however the labels are cut."""
    tried(house, "shadow")
    rows, _ = generate(400, 2, 0.05, "concept", 1.0, 3)
    truth = np.random.default_rng(5).integers(0, 2, 400)
    for some, said in zip(np.array_split(rows, pieces), np.array_split(truth, pieces), strict=True):
        house.label(house.predict(some), said)
        house.tick()
    story = recorded(house)
    first = next(each for each in story if each.action == "reject")
    assert "out of date itself" in first.reason
    assert (first.version, first.from_version) == ("2", "1")
    after = story[story.index(first) + 1]
    assert (after.action, after.version, after.evidence["check"]["decision"]) == ("train", None, "drift")


def test_a_newer_winner_takes_its_place(house: House) -> None:
    """At most one is on trial; the older one is rejected first."""
    tried(house, "shadow")
    feed(house, 40, "concept", 7)
    train_now(house, "1", 190, "growth")
    told = [(each.action, each.version) for each in recorded(house)[-2:]]
    assert (told, on_trial(house)) == ([("reject", "2"), ("train", "3")], "3")
    assert "takes its place" in recorded(house)[-2].reason
    assert [state for _, state in house.told() if state in incidents.OPEN] == ["retraining"]


def test_a_winner_that_needs_no_trial_any_more_ends_the_one_under_way(house: House) -> None:
    """Declared anew without one while a training ran: it is promoted, and nobody is compared with who serves no more."""
    tried(house, "shadow")
    declare(house)
    train_now(house, "1", 150)
    told = [(each.action, each.version) for each in recorded(house)[-2:]]
    assert (told, trial_of(house), house.model().champion) == ([("reject", "2"), ("promote", "3")], None, "3")
    assert "serves no more" in recorded(house)[-2].reason


def test_a_promotion_by_hand_closes_the_message_that_the_trial_had_open(house: House) -> None:
    """Whoever reads of a trial under way reads of its end, whatever it was begun for."""
    declare(house, trial="shadow")
    house.tick()
    feed(house, 90, "concept", 0)
    train_now(house, "1", 90, "growth")
    assert on_trial(house) == "2" and house.told()[-1][1] == "retraining"
    Aliases(house.room).follow()
    house.registry.set_champion("default", "2")
    Aliases(house.room).follow()
    assert house.model().champion == "2"
    assert not [state for _, state in house.told() if state in incidents.OPEN]


def test_an_alias_moved_by_hand_to_the_challenger_is_a_promotion_by_hand(house: House) -> None:
    """Its trial is over, and stands in the record."""
    tried(house, "shadow")
    Aliases(house.room).follow()
    house.registry.set_champion("default", "2")
    Aliases(house.room).follow()
    last = recorded(house)[-1]
    assert (last.action, last.version, last.evidence["by"]) == ("promote", "2", "registry")
    assert (last.evidence["trial"]["mode"], trial_of(house), house.model().champion) == ("shadow", None, "2")
    Aliases(house.room).follow()
    assert house.registry.challengers == {}
