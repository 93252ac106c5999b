"""What the report of a dataset says: examples of what was left out, and what is odd in what was kept."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from storage import decisions, incidents
from storage.jobs import Job
from tests.workers.conftest import House
from tests.workers.test_loop import PLANE

MIXED = PLANE | {"features": {"x1": "number", "c": "category?"}, "cooldown_rows": 10}


def upload(house: House, text: str, model: str = "own") -> Job:
    return house.ingest(text, model)


def report(house: House, text: str) -> dict[str, Any]:
    job = upload(house, text)
    assert job.status == "succeeded", job.error
    found: dict[str, Any] = msgspec.json.decode(job.result or "null")["report"]
    return found


def rows(count: int, seed: int = 0, noise: float = 0.1) -> list[str]:
    rng = np.random.default_rng(seed)
    x, flip, kind = rng.normal(size=count), rng.random(count) < noise, rng.integers(0, 2, count)
    return [f"{value:.6f},{'ab'[k]},{int((value > 0) != turned)}" for value, turned, k in zip(x, flip, kind, strict=True)]


def table(lines: list[str]) -> str:
    return "x1,c,target\n" + "\n".join(lines) + "\n"


def warned(found: dict[str, Any]) -> dict[str, tuple[str | None, int]]:
    return {each["kind"]: (each["column"], each["count"]) for each in found["warnings"]}


def test_rows_that_are_left_out_are_counted_and_shown(house: House) -> None:
    """With the row of the file, the column and the value, however many broken rows stand before it."""
    house.declare("own", **MIXED)
    lines = ["1,a,0", "2,b,1", *rows(3), "1,a", "oops" * 20 + ",b,1", ",a,1", "1,a,", "2,b,7"]
    found = report(house, table(lines))
    assert sorted(found["rejected"].values()) == [1, 1, 1, 2]
    assert found["rejected"]["unreadable row"] == 1
    shown = [(each["row"], each["column"], each["value"]) for each in found["examples"]]
    assert shown[:4] == [(5, None, None), (6, "x1", "oops" * 14 + "oop…"), (7, "x1", None), (8, "target", None)]
    assert all(len(each["value"] or "") <= 60 for each in found["examples"])


def test_too_few_rows_one_class_and_repeated_rows_are_said(house: House) -> None:
    house.declare("own", **MIXED)
    found = report(house, table(["1,a,1"] * 3 + ["2,,1"]))
    assert warned(found) == {"duplicate_rows": (None, 2), "few_rows": (None, 4), "one_class": ("target", 4)}
    assert found["missing"] == {"c": 1}
    assert [each["examples"] for each in found["warnings"] if each["kind"] == "duplicate_rows"] == [[{"row": 1}, {"row": 2}]]
    assert "96 more are needed" in next(each["message"] for each in found["warnings"] if each["kind"] == "few_rows")


def test_ranges_and_categories_are_held_against_the_champions_own_rows(house: House) -> None:
    """Unseen ones are counted and shown, and refused by nothing; ordinary rows are silent."""
    house.declare("own", **MIXED)
    report(house, table(rows(400)))
    assert house.model("own").champion == "1"
    assert warned(report(house, table(rows(300, seed=1)))) == {}
    found = report(house, table([*rows(98, seed=2), "1000000,a,1", "1.5,new,0"]))
    assert warned(found) == {"out_of_range": ("x1", 1), "unseen_category": ("c", 1)}
    assert [each["examples"] for each in found["warnings"]] == [
        [{"row": 98, "value": "1000000.0"}],
        [{"row": 99, "value": "new"}],
    ]


def test_a_label_that_is_given_away_is_told_in_report_decision_and_message(house: House) -> None:
    """The version is promoted, since a rule without noise looks the same, and nobody can say that they were not told."""
    house.declare("own", **MIXED)
    found = report(house, table(rows(400, noise=0.0)))
    (leak,) = [each for each in found["warnings"] if each["kind"] == "leakage"]
    assert leak["column"] == "x1"
    with house.db.read() as tx:
        made = next(each for each in decisions.listed(tx, "own", 10, None).entries if each.action == "promote")
    assert "too good to be true: x1 alone" in made.reason
    assert [each["feature"] for each in made.evidence["leakage"]] == ["x1"]
    assert ("A dataset of own may give its labels away", "told") in house.told()
    with house.db.read() as tx:
        first = next(each for each in incidents.listed(tx, 10, None).entries if each.title == "own has its first version")
    assert first.kind == "warning" and "too good to be true" in first.lines[-1]
