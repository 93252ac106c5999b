"""Models, labels and health as clients see them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import SecretStr
from sqlalchemy import update

from api.app import close, create_app
from api.errors import Fault
from settings import Settings
from storage import champions, checks, heartbeats, incidents, jobs, models, shadows
from storage.checks import Check
from storage.database import Database
from storage.heartbeats import Heartbeat
from storage.ids import new_id
from storage.jobs import NewJob
from storage.schema import versions as version_rows
from storage.shadows import Shadow
from storage.trials import Trial
from tests.api.conftest import NOBODY_THERE, Ask
from tests.api.hand import PLANE, Hand, promote
from tests.api.test_jobs import posted


def test_a_model_shows_what_was_declared(ask: Ask) -> None:
    """Schema, estimator, champion and settings; unknown and impossible names are 404."""
    shown = ask("GET", "/models/plane").get_json()
    assert shown["schema"]["features"] == PLANE["features"]
    assert shown["schema"]["label"] == "target"
    assert (shown["estimator"]["name"], shown["champion"]) == (PLANE["estimator"], "1")
    assert shown["settings"] == {
        "metric": "accuracy",
        "threshold": 0.7,
        "interval_s": 30.0,
        "cooldown_rows": 100,
        "detector": "esr",
        "recall": False,
        "trial": None,
        "canary_share": 0.1,
        "trial_days": 7.0,
    }
    assert shown["warnings"] == []
    for name in ("nope", "%00", "..%2f..%2fx", "x" * 1000, "%F0%9F%90%8D", "a%20b"):
        assert ask("GET", f"/models/{name}").status_code == 404
    assert [each["name"] for each in ask("GET", "/models").get_json()["models"]] == ["plane", "empty"]


def test_a_declared_model_is_created_then_changed(ask: Ask, believing: None) -> None:
    """201, then 200; the change is seen at once by a prediction."""
    smaller = PLANE | {"features": {"x1": "number"}}
    assert ask("PUT", "/models/fresh", json=PLANE).status_code == 201
    assert ask("POST", "/predict", json={"model": "fresh", "instances": [[1, 2]]}).status_code == 202
    assert ask("PUT", "/models/fresh", json=smaller).status_code == 200
    assert ask("POST", "/predict", json={"model": "fresh", "instances": [[1]]}).status_code == 202
    assert ask("POST", "/predict", json={"model": "fresh", "instances": [[1, 2]]}).status_code == 422


def test_a_declaration_is_told_what_its_detector_costs_or_lacks(
    ask: Ask, believing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`threshold` is taken with a warning that stays to be seen; `adwin` without river is 422, and makes no model."""
    made = ask("PUT", "/models/plain", json=PLANE | {"detector": "threshold"})
    assert made.status_code == 201
    assert "707 trainings" in made.get_json()["warnings"][0]
    assert ask("GET", "/models/plain").get_json()["warnings"] == made.get_json()["warnings"]
    monkeypatch.setattr("problems.loop.find_spec", lambda name: None)
    refused = ask("PUT", "/models/wide", json=PLANE | {"detector": "adwin"})
    assert (refused.status_code, refused.get_json()["errors"][0]["loc"]) == (422, ["detector"])
    assert "uv sync" in refused.get_json()["errors"][0]["msg"]
    assert ask("GET", "/models/wide").status_code == 404


BAD: dict[str, Any] = {
    "estimator": "os.system", "metric": "rmse", "task": "banana", "threshold": "high", "features": ["x1"],
    "label": "x1", "banana": 1,
}  # fmt: skip


@pytest.mark.parametrize("key", BAD)
def test_a_declaration_that_makes_no_sense_is_422_without_a_child(ask: Ask, app: Flask, key: str) -> None:
    """Refused by its form alone: scikit-learn is not asked, and no model is made."""
    object.__setattr__(app.extensions["house"], "inspector", None)
    answer = ask("PUT", "/models/bad", json=PLANE | {key: BAD[key]})
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["loc"][0] == key
    assert ask("GET", "/models/bad").status_code == 404


def test_what_scikit_learn_has_against_an_estimator_is_422(ask: Ask) -> None:
    """The child process itself is asked, once for the same declaration."""
    odd = PLANE | {"estimator_args": {"banana": 1}}
    answer = ask("PUT", "/models/bad", json=odd)
    assert answer.status_code == 422
    assert "estimator_args" in str(answer.get_json()["errors"][0]["loc"])
    began = time.monotonic()
    assert ask("PUT", "/models/bad2", json=odd).status_code == 422
    assert time.monotonic() - began < 0.5


def test_what_the_rows_hang_on_cannot_change_once_there_are_any(ask: Ask, database: Database, believing: None) -> None:
    """409 for features, their order, label and task; threshold and estimator may."""

    def put(**change: Any) -> int:
        text = json.dumps(PLANE | change)  # keeps the features' order, which Flask's own `json=` does not
        return ask("PUT", "/models/plane", data=text, content_type="application/json").status_code

    with database.begin() as tx:
        models.take_positions(tx, "plane", 3)
    assert put(features={"x1": "number"}) == 409
    assert put(features={"x2": "number", "x1": "number"}) == 409
    assert put(label="other") == put(task="multiclass") == 409
    assert put(threshold=0.6) == put(threshold=0.6, estimator="sklearn.linear_model.Perceptron") == 200
    assert ask("GET", "/model-status?model=plane").get_json()["threshold"] == 0.6
    assert ask("GET", "/models/plane").get_json()["champion"] == "1"


def test_a_child_that_fails_is_503(ask: Ask, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is declared on a guess."""
    monkeypatch.setattr("api.inspecting.sys.executable", "/bin/false")
    assert ask("PUT", "/models/fresh", json=PLANE).status_code == 503
    assert ask("GET", "/models/fresh").status_code == 404


def test_faults_of_scikit_learn_are_answered_as_they_are(ask: Ask, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Place and message of each."""
    inspector = app.extensions["house"].inspector
    monkeypatch.setattr(type(inspector), "_ask", lambda *_: [Fault(("estimator",), "no such class")])
    answer = ask("PUT", "/models/fresh", json=PLANE).get_json()
    assert answer["errors"] == [{"loc": ["estimator"], "msg": "no such class"}]


def test_a_rollback_brings_the_version_before_back(ask: Ask, database: Database) -> None:
    """200 with the status, a decision, an incident and its notification; 409 when there is none before."""
    assert ask("POST", "/models/plane/rollback").status_code == 409
    promote(database, "plane", 2, before="1")
    assert ask("GET", "/model-status?model=plane").get_json()["version"] == "2"
    answer = ask("POST", "/models/plane/rollback")
    assert (answer.status_code, answer.get_json()["version"]) == (200, "1")
    decision = ask("GET", "/models/plane/decisions?limit=1").get_json()["decisions"][0]
    assert (decision["action"], decision["version"], decision["from_version"]) == ("rollback", "1", "2")
    aliases = {each["version"]: each["aliases"] for each in ask("GET", "/models/plane/versions").get_json()["versions"]}
    assert aliases == {"1": ["champion"], "2": []}
    assert ask("GET", "/jobs?kind=notify").get_json()["jobs"][0]["model"] == "plane"
    told = ask("GET", "/incidents").get_json()["incidents"][0]
    assert (told["kind"], told["state"], told["model"]) == ("warning", "told", "plane")
    with database.read() as tx:
        assert incidents.get(tx, told["id"]) is not None
    assert ask("POST", "/models/nope/rollback").status_code == 404


def test_a_rollback_is_the_end_of_a_drift_that_is_open(ask: Ask, database: Database) -> None:
    """Told in the drift's own message, which nothing else would ever close."""
    promote(database, "plane", 2, before="1")
    with database.begin() as tx:
        incidents.tell(tx, "drift:plane", "plane", "failure", "opened", "Training of plane failed", ["why"], 1.0)
    ask("POST", "/models/plane/rollback")
    (told,) = ask("GET", "/incidents").get_json()["incidents"]
    assert (told["state"], len(told["lines"])) == ("resolved", 2)


def test_a_pruned_version_is_listed_as_such_and_a_rollback_to_it_is_refused(ask: Ask, database: Database) -> None:
    """409 with what happened and what can be done; the champion serves on, and no decision is recorded."""
    promote(database, "plane", 2, before="1")
    with database.begin() as tx:
        tx.execute(update(version_rows).where(version_rows.c.model == "plane", version_rows.c.number == 1).values(pruned_at=5.0))
    listed = ask("GET", "/models/plane/versions").get_json()["versions"]
    assert {each["version"]: each["pruned_at"] for each in listed} == {"2": None, "1": "1970-01-01T00:00:05.000Z"}
    shown = ask("GET", "/openapi.json").get_json()["components"]["schemas"]["VersionView"]
    assert "pruned_at" in shown["properties"]
    before = ask("GET", "/models/plane/decisions").get_json()
    answer = ask("POST", "/models/plane/rollback")
    assert answer.status_code == 409
    assert answer.get_json()["detail"].startswith(
        "Version 1 of 'plane' cannot serve again: its file was pruned after RETENTION_DAYS"
    )
    assert ask("GET", "/model-status?model=plane").get_json()["version"] == "2"
    assert ask("GET", "/models/plane/decisions").get_json() == before


def test_a_trial_is_shown_and_can_be_stopped(ask: Ask, database: Database) -> None:
    """In the status and as an alias; a person's stop is a rejection, told once; then 409. What it answered is for operators."""
    job = new_id(1.0)
    assert ask("GET", "/model-status?model=plane").get_json()["trial"] is None
    figures = {"rows": 3, "better": 1.5, "worse": 0.5, "limit": 100.0}
    with database.begin() as tx:
        made = Trial("plane", "2", "1", "shadow", "job", "drift:plane", 1.0, 0, None, {}, {}, figures, 10, 9)
        champions.try_out(tx, made, "Version 2 won the gate.", {"by": "gate"}, 1.0)
        shadows.log(tx, [Shadow(job, "plane", "2", 1, 1, '[{"prediction_id":"x:0","label":1}]', 1.0)])
    shown = ask("GET", "/model-status?model=plane").get_json()
    assert (shown["version"], shown["trial"]["version"], shown["trial"]["figures"]) == ("1", "2", figures)
    assert (shown["trial"]["mode"], shown["trial"]["share"], shown["trial"]["agreed"]) == ("shadow", 0.0, 9)
    assert (shown["trial"]["since"], shown["trial"]["until"]) == ("1970-01-01T00:00:01.000Z", "1970-01-08T00:00:01.000Z")
    beside = ask("GET", f"/jobs/{job}/shadow").get_json()
    assert (beside["version"], beside["predictions"]) == ("2", [{"prediction_id": "x:0", "label": 1}])
    assert ask("GET", f"/jobs/{new_id(2.0)}/shadow").status_code == 404
    stopped = ask("DELETE", "/models/plane/trial")
    assert (stopped.status_code, stopped.get_json()["trial"]) == (200, None)
    decision = ask("GET", "/models/plane/decisions?limit=1").get_json()["decisions"][0]
    assert (decision["action"], decision["version"], decision["from_version"]) == ("reject", "2", "1")
    assert "stopped by token" in decision["reason"]
    assert ask("GET", "/incidents").get_json()["incidents"][0]["state"] == "resolved"
    assert ask("DELETE", "/models/plane/trial").status_code == 409
    assert ask("DELETE", "/models/nope/trial").status_code == 404


def test_a_check_can_be_asked_for_again_and_again(ask: Ask, database: Database) -> None:
    """Each a job of its own in the model's lane; a body is refused."""
    made = [ask("POST", "/models/plane/checks").get_json() for _ in range(2)]
    assert made[0]["id"] != made[1]["id"]
    assert {job["kind"] for job in made} == {"check"}
    assert ask("POST", "/models/plane/checks", json={"force": True}).status_code == 422
    assert ask("POST", "/models/nope/checks").status_code == 404


def test_the_state_of_a_model(ask: Ask, database: Database) -> None:
    """no_model, healthy, drifting, retraining: a training under way says more than the drift that began it."""

    def state(model: str = "plane") -> str:
        return str(ask("GET", f"/model-status?model={model}").get_json()["state"])

    assert (state("empty"), state()) == ("no_model", "healthy")
    with database.begin() as tx:
        models.change(tx, "plane", drifting=True)
    assert state() == "drifting"
    with database.begin() as tx:
        jobs.add(tx, [NewJob.make("train", "plane", "train", 1.0, 4)])
    assert state() == "retraining"
    status = ask("GET", "/model-status?model=plane").get_json()
    assert status["automation"]["interval_s"] == 30.0
    assert status["automation"]["next_check_at"][17:19] in ("00", "30")
    assert ask("GET", "/model-status?model=nope").status_code == 404


def test_the_last_checks_estimate_is_shown_with_its_condition(ask: Ask, database: Database) -> None:
    """As it stands in the check; null where none has been made."""
    assert ask("GET", "/model-status?model=plane").get_json()["estimate"] is None
    found = {"metric": "accuracy", "value": 0.87, "rows": 1000, "condition": "valid only if P(y|x) is unchanged"}
    with database.begin() as tx:
        checks.add(tx, Check("1", "job", "plane", 1.0, {"estimate": found}))
    assert ask("GET", "/model-status?model=plane").get_json()["estimate"] == found


# ---- labels


@pytest.fixture
def predicted(ask: Ask, hand: Hand) -> list[str]:
    """The ids of two predictions."""
    job = posted(ask)
    hand.work()
    result = ask("GET", job["links"]["self"]).get_json()["result"]
    return [each["prediction_id"] for each in result["predictions"]]


def label(ask: Ask, *pairs: tuple[str, object]) -> Any:
    answer = ask("POST", "/feedback", json={"labels": [{"prediction_id": key, "label": value} for key, value in pairs]})
    assert answer.status_code == 200, answer.get_json()
    return answer.get_json()


def test_labels_are_stored_repeated_corrected(ask: Ask, predicted: list[str]) -> None:
    """Accepted, duplicate, accepted again; unknown ids in order; the history is kept."""
    job_id = predicted[0].split(":")[0]
    strangers = ["0b5c9e0e-0000-4000-8000-000000000000:0", f"{job_id}:2", f"{job_id}:00", "nonsense", f"{job_id}:-1"]
    pairs = [(strangers[0], 1), (predicted[1], 0), *((key, 1) for key in strangers[1:])]
    assert label(ask, *pairs) == {"accepted": 1, "unknown": strangers, "duplicate": 0}
    assert label(ask, (predicted[1], 0))["duplicate"] == 1
    assert label(ask, (predicted[1], 1), (predicted[1], 1.0)) == {"accepted": 1, "unknown": [], "duplicate": 1}
    stored = ask("GET", f"/feedback?job_id={job_id}").get_json()["labels"]
    assert [(each["prediction_id"], each["label"]) for each in stored] == [(predicted[1], 1)]
    assert [each["label"] for each in stored[0]["history"]] == [0]


def test_a_jobs_labels_in_order(ask: Ask, predicted: list[str]) -> None:
    """Fewer label the first rows, more are 422, and a job without predictions 409."""
    job_id = predicted[0].split(":")[0]
    assert ask("POST", "/feedback", json={"job_id": job_id, "labels": [1, 0, 1]}).status_code == 422
    assert ask("POST", "/feedback", json={"job_id": job_id, "labels": [1]}).get_json()["accepted"] == 1
    assert ask("POST", "/feedback", json={"job_id": job_id, "labels": [1, 0]}).get_json() == {
        "accepted": 1,
        "unknown": [],
        "duplicate": 1,
    }
    queued = posted(ask)["id"]
    assert ask("POST", "/feedback", json={"job_id": queued, "labels": [1]}).status_code == 409
    assert ask("POST", "/feedback", json={"job_id": "nope", "labels": [1]}).status_code == 404


@pytest.mark.parametrize("value", ["blue", 7, None, [1], 0.5, True, 10**400, {"a": 1}])
def test_one_impossible_label_refuses_all(ask: Ask, predicted: list[str], value: object) -> None:
    """422 naming the place, and nothing of the request is stored."""
    both = [{"prediction_id": predicted[0], "label": 1}, {"prediction_id": predicted[1], "label": value}]
    answer = ask("POST", "/feedback", json={"labels": both})
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["loc"] == ["labels", 1, "label"]
    assert label(ask, (predicted[0], 1))["accepted"] == 1


FEEDBACK: list[Any] = [
    {}, [], {"labels": 3}, {"labels": [3]}, {"labels": [{"label": 1}]}, {"labels": [{"prediction_id": "a:0"}]},
    {"labels": [{"prediction_id": 1, "label": 1}]}, {"job_id": 1, "labels": []}, {"labels": [], "when": "now"},
]  # fmt: skip


@pytest.mark.parametrize("body", FEEDBACK, ids=str)
def test_feedback_that_makes_no_sense_is_422(ask: Ask, body: Any) -> None:
    """With its errors."""
    answer = ask("POST", "/feedback", json=body)
    assert answer.status_code == 422
    assert answer.get_json()["errors"]


# ---- health


def test_health_says_what_is_down_and_jobs_are_still_accepted(client: FlaskClient, ask: Ask, database: Database) -> None:
    """No broker here: degraded and 200. Signs of life turn the others ok."""
    before = client.get("/health").get_json()
    assert before["status"] == "degraded"
    assert {name: part["status"] for name, part in before["components"].items()} == {
        "database": "ok", "broker": "down", "workers": "down", "registry": "down", "beat": "down",
    }  # fmt: skip
    now = time.time()
    with database.begin() as tx:
        for component, queues in (("worker", "bulk,predict"), ("registry", ""), ("beat", "")):
            heartbeats.beat(tx, Heartbeat(component, component, queues, True, "", now))
    after = client.get("/health")
    assert after.status_code == 200
    states = {name: part["status"] for name, part in after.get_json()["components"].items()}
    assert states == {"database": "ok", "broker": "down", "workers": "ok", "registry": "ok", "beat": "ok"}
    assert posted(ask)["status"] == "queued"


def test_a_worker_without_the_predict_queue_is_not_enough(client: FlaskClient, database: Database) -> None:
    """Its detail says what is missing."""
    with database.begin() as tx:
        heartbeats.beat(tx, Heartbeat("w", "worker", "bulk", True, "", time.time()))
    part = client.get("/health").get_json()["components"]["workers"]
    assert part["status"] == "down"
    assert "predict" in part["detail"]


def test_what_metrics_have_counted_is_kept(database: Database, client: FlaskClient) -> None:
    client.get("/metrics")
    with database.read() as tx:
        assert tx.exec_driver_sql("SELECT count(*) FROM census").scalar_one() == 1


def test_metrics_are_told_where_the_ledger_takes_nothing(database: Database, client: FlaskClient) -> None:
    """As on a full disk, which a view plays, what was counted cannot be kept; it is shown all the same."""
    with database.begin() as tx:
        tx.exec_driver_sql("ALTER TABLE census RENAME TO table_of_it")
        tx.exec_driver_sql("CREATE VIEW census AS SELECT * FROM table_of_it")
    assert "continual_ledger_up 1.0" in client.get("/metrics").text


def test_metrics_are_open_until_they_have_a_token(settings: Settings, ask: Ask, client: FlaskClient) -> None:
    """Prometheus text with requests and the queue; METRICS_TOKEN closes it to the admin's token too."""
    posted(ask)
    text = client.get("/metrics").text
    assert 'celery_queue_length{queue_name="predict"} 1.0' in text
    assert 'http_requests_total{method="POST",route="/predict",status="202"} 1.0' in text
    closed = settings.model_copy(update={"metrics_token": SecretStr("scrape-me")})
    app = create_app(closed, Database(settings.ledger_url), NOBODY_THERE)
    assert app.test_client().get("/metrics").status_code == 401
    opened = app.test_client().get("/metrics", headers={"Authorization": "Bearer scrape-me"})
    assert opened.status_code == 200
    close(app)
