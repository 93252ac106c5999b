"""What the dashboard reads: the overview, a model over time, its inputs, the settings in effect."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api.app import create_app
from api.overview import without_login
from settings import Settings
from storage import champions, checks, heartbeats, predictions, versions
from storage.checks import Check
from storage.database import Database
from storage.heartbeats import Heartbeat
from storage.ids import first_id
from storage.predictions import Logged
from storage.versions import Version
from tests.api.conftest import KEY, NOBODY_THERE, Ask
from tests.api.hand import Hand, promote

BINS = {"x1": {"edges": [0.0], "counts": [60, 40], "missing": 0}, "x2": {"kinds": ["a"], "counts": [99], "others": 1}}
SEEN = {"feature": "x1", "test": "ks", "distance": 0.4, "psi": 0.9, "p": 1e-9, "drifted": True}


def look(database: Database, at: float, **said: Any) -> str:
    """A check of `plane` at this moment."""
    check = {"decision": "ok", "labels_seen": 10, "statistic": 1.0, "limit": 1e4, "version": "1", "features": [], **said}
    with database.begin() as tx:
        name = first_id(at)  # `new_id` never goes back in time
        checks.add(tx, Check(name, f"job-{name}", "plane", at, check))
    return name


def test_the_overview_counts_what_waits_and_who_works(ask: Ask, database: Database, hand: Hand) -> None:
    """Two queued predictions with their age, one live and one silent worker, and the rows of the last ten seconds."""
    for _ in range(2):
        assert ask("POST", "/predict", json={"model": "plane", "instances": [[0, 1]]}).status_code == 202
    now = time.time()
    with database.begin() as tx:
        heartbeats.beat(tx, Heartbeat("alive@here", "worker", "predict,check", True, "", now))
        heartbeats.beat(tx, Heartbeat("silent@here", "worker", "train", True, "", now - 60))
        predictions.log(tx, [Logged(first_id(now), "plane", "1", 500, None, "a", now)])
        predictions.log(tx, [Logged(first_id(now - 60), "plane", "1", 7, None, "a", now)])
    found = ask("GET", "/overview").get_json()
    queue = next(each for each in found["queues"] if each["name"] == "predict")
    assert (queue["length"], found["queued"], found["running"]) == (2, 2, 0)
    assert 0 <= queue["oldest_age_s"] < 30
    assert {each["name"]: (each["up"], each["queues"]) for each in found["processes"]} == {
        "alive@here": (True, ["predict", "check"]),
        "silent@here": (False, ["train"]),
    }
    assert found["predictions_per_s"] == 50.0


def test_a_model_over_time_has_its_checks_and_what_happened(ask: Ask, database: Database) -> None:
    """Each check a point, oldest first; the training that answers an alarm is an alarm and a training."""
    now = time.time()
    for age, performance in ((300, 0.97), (200, 0.96), (100, 0.55)):
        look(database, now - age, performance=performance, recent_performance=performance / 2)
    with database.begin() as tx:
        check = {"check": {"decision": "drift"}}
        champions.record(tx, "plane", "train", None, "1", "It got worse.", now - 99, "j", check)
        champions.record(tx, "plane", "promote", "2", "1", "Better.", now - 90, "j", {})
    found = ask("GET", "/models/plane/timeline?hours=1&points=100").get_json()
    assert [(point["performance"], point["recent"]) for point in found["points"]] == [(0.97, 0.485), (0.96, 0.48), (0.55, 0.275)]
    assert [(event["kind"], event["version"]) for event in found["events"]] == [
        ("alarm", "1"),
        ("training", None),
        ("promotion", "2"),
    ]
    assert (found["metric"], found["threshold"], found["higher_is_better"]) == ("accuracy", 0.7, True)


def test_a_long_life_is_thinned_out_and_keeps_its_newest_check(ask: Ask, database: Database) -> None:
    """Of 400 checks over four hours at most 20 points, evenly, the last of them the newest; an hour has those of an hour."""
    now = time.time()
    for n in range(400):
        look(database, now - 14_400 + 36 * n, performance=n / 400)
    found = ask("GET", "/models/plane/timeline?points=20").get_json()["points"]
    assert 18 <= len(found) <= 20
    assert found[-1]["performance"] == 399 / 400
    hour = ask("GET", "/models/plane/timeline?points=1000&hours=1").get_json()["points"]
    assert 98 <= len(hour) <= 101


def test_a_model_that_was_never_checked_has_an_empty_life(ask: Ask) -> None:
    """No points, no events, no error; an unknown model is 404, and a window that cannot be is 422."""
    assert ask("GET", "/models/empty/timeline").get_json()["points"] == []
    assert ask("GET", "/models/nobody/timeline").status_code == 404
    for query in ("hours=0", "hours=-1", "hours=x", "points=1", "points=1001", "hours=nan"):
        assert ask("GET", f"/models/empty/timeline?{query}").status_code == 422


def test_inputs_stand_beside_the_reference(ask: Ask, database: Database) -> None:
    """The newest check with enough rows says how far each feature is, in the bins of the version's own sketch."""
    with database.begin() as tx:
        sketch = {"rows": 100, "types": {"x1": "number", "x2": "category"}, "bins": BINS}
        versions.add(tx, Version("plane", 2, "job", 1.0, "a", "0", {}, {}, "1", {}, sketch, [0, 1]))
        champions.serve(tx, "plane", "2", 0)
    now = time.time()
    look(database, now - 3, version="2", features=[{**SEEN, "histogram": {"counts": [5, 600], "missing": 2}}])
    look(database, now - 2, version="2")
    look(database, now - 1, version="1", features=[SEEN])
    found = ask("GET", "/models/plane/inputs").get_json()
    x1, x2 = found["features"]
    assert (found["version"], found["reference_rows"]) == ("2", 100)
    assert (x1["distance"], x1["drifted"], x1["reference"]) == (0.4, True, BINS["x1"])
    assert x1["current"] == {"edges": [0.0], "counts": [5, 600], "missing": 2}
    assert (x2["test"], x2["reference"], x2["current"]) == (None, BINS["x2"], None)


def test_a_model_without_a_champion_has_no_inputs_to_show(ask: Ask, database: Database) -> None:
    """And a version from before there were histograms has features without bars."""
    assert ask("GET", "/models/empty/inputs").get_json()["features"] == []
    promote(database, "empty", 1)
    assert ask("GET", "/models/empty/inputs").get_json()["version"] in (None, "1")


def test_settings_are_told_without_secrets(settings: Settings, tmp_path: Path) -> None:
    """Of a secret only that it is set, of a URL neither user nor password; every setting has its default and its meaning."""
    chosen = settings.model_copy(update={"database_url": "postgresql+psycopg://me:hunter2@host:5432/name?sslkey=x"})
    app: Flask = create_app(chosen, Database(settings.ledger_url), NOBODY_THERE)
    answer = app.test_client().get("/settings", headers={"Authorization": f"Bearer {KEY}"})
    told = {each["name"]: each for each in answer.get_json()["settings"]}
    assert told["API_KEY"]["value"] is True
    assert told["DISCORD_WEBHOOK_URL"] == {**told["DISCORD_WEBHOOK_URL"], "value": False, "secret": True}
    assert told["DATABASE_URL"]["value"] == "postgresql+psycopg://host:5432/name"
    assert (told["MAX_BODY_MB"]["value"], told["MAX_BODY_MB"]["default"]) == (1, 64)
    assert all(each["text"] for each in told.values())
    assert KEY not in answer.text
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("url", ["redis://:p@h:1/0", "redis://u:p@h:1/0?password=p", "redis://h:1/0#p"])
def test_a_url_loses_what_could_open_it(url: str) -> None:
    """User, password, query and fragment."""
    assert without_login(url) == "redis://h:1/0"


def test_a_path_keeps_its_slashes() -> None:
    """The address of a file has no host, and three slashes or four."""
    assert without_login("sqlite:////srv/data/ledger.db") == "sqlite:////srv/data/ledger.db"
