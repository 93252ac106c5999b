"""Who changed what; two secrets of one token at once; how a token's rate stands."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import close, create_app
from settings import Settings
from storage.database import Database
from tests.api.conftest import KEY, NOBODY_THERE, Ask
from tests.api.hand import PLANE

ROWS = {"data": b"x1,x2,target\n1,2,0\n", "content_type": "text/csv"}


def acts(ask: Ask) -> list[dict[str, Any]]:
    """The audit log, newest first."""
    found: list[dict[str, Any]] = ask("GET", "/audit?limit=100").get_json()["audit"]
    return found


@pytest.mark.usefixtures("believing")
def test_each_change_is_in_the_audit_log(ask: Ask) -> None:
    """What a person does to tokens, models, jobs and data, one row for each, with who, where from, and the request's id."""
    token = ask("POST", "/tokens", json={"name": "ana", "role": "viewer"}, headers={"X-Request-ID": "mine-1"}).get_json()
    ask("POST", f"/tokens/{token['id']}/rotate", json={})
    ask("DELETE", f"/tokens/{token['id']}")
    ask("PUT", "/models/new", json=PLANE)
    ask("PUT", "/models/new", json=PLANE | {"threshold": 0.6})
    upload = ask("POST", "/datasets?model=plane", **ROWS).get_json()
    ask("DELETE", f"/jobs/{upload['id']}")
    check = ask("POST", "/models/plane/checks").get_json()
    ask("POST", "/notifications/test")
    found = acts(ask)
    names = ["create", "rotate", "revoke", "declare", "change", "upload", "cancel", "check", "test"]
    assert [each["action"] for each in found][::-1] == names
    assert {(each["token_id"], each["token_name"], each["role"], each["address"]) for each in found} == {
        ("api_key", "API_KEY", "admin", "127.0.0.1")
    }
    first, checked = found[-1], found[1]
    assert (first["subject"], first["detail"], first["request_id"]) == (f"token {token['id']}", "'ana', viewer", "mine-1")
    assert (checked["subject"], checked["detail"]) == (f"job {check['id']}", "model plane")
    assert token["token"] not in str(found)


def test_what_changes_nothing_is_not_in_it(ask: Ask, client: FlaskClient) -> None:
    """Reading, predicting, refused and repeated requests."""
    ask("POST", "/predict", json={"model": "plane", "instances": [[1, 2]]})
    ask("GET", "/models")
    ask("DELETE", "/tokens/0b5c9e0e-0000-4000-8000-000000000000")
    ask("POST", "/models/empty/rollback")
    ask("PUT", "/models/new", json={})
    client.post("/models/plane/checks")
    for _ in range(2):
        ask("POST", "/models/plane/checks", headers={"Idempotency-Key": "once"})
    assert [each["action"] for each in acts(ask)] == ["check"]


def test_after_a_rotation_both_secrets_are_valid_until_the_grace_is_over(settings: Settings) -> None:
    """On a clock of the test's own: both, then the new one only; its lifespan is the old one's."""
    now = [1_800_000_000.0]
    app = create_app(settings, Database(settings.ledger_url), NOBODY_THERE, clock=lambda: now[0])
    client, admin = app.test_client(), {"Authorization": f"Bearer {KEY}"}
    body = {"name": "ana", "role": "client", "expires_at": "2027-01-15T09:00:00Z"}  # an hour from now
    old = client.post("/tokens", json=body, headers=admin).get_json()
    now[0] += 600
    new = client.post(f"/tokens/{old['id']}/rotate", json={"grace_s": 60}, headers=admin).get_json()
    assert (new["name"], new["role"], new["expires_at"]) == ("ana", "client", "2027-01-15T09:10:00.000Z")

    def opens(secret: str) -> bool:
        return client.get("/jobs", headers={"Authorization": f"Bearer {secret}"}).status_code == 200

    assert (opens(old["token"]), opens(new["token"])) == (True, True)
    now[0] += 60
    assert (opens(old["token"]), opens(new["token"])) == (False, True)
    assert client.post(f"/tokens/{old['id']}/rotate", json={}, headers=admin).status_code == 404
    last = "9999-12-31T23:59:59.000Z"
    endless = client.post("/tokens", json={**body, "expires_at": last}, headers=admin).get_json()
    now[0] += 600
    assert client.post(f"/tokens/{endless['id']}/rotate", json={}, headers=admin).get_json()["expires_at"] == last
    close(app)


def test_a_token_is_rotated_once_and_then_its_successor_is(ask: Ask) -> None:
    """A second time by the old id, in its grace: 409, nothing made; what lasts for ever has a successor that does, and so on."""
    old = ask("POST", "/tokens", json={"name": "ana", "role": "viewer"}).get_json()
    new = ask("POST", f"/tokens/{old['id']}/rotate", json={}).get_json()
    again = ask("POST", f"/tokens/{old['id']}/rotate", json={})
    assert (again.status_code, "rotated already" in again.get_json()["detail"]) == (409, True)
    newest = ask("POST", f"/tokens/{new['id']}/rotate", json={}).get_json()
    assert [new["expires_at"], newest["expires_at"]] == [None, None]
    assert {each["id"] for each in ask("GET", "/tokens").get_json()["tokens"]} == {old["id"], new["id"], newest["id"]}


@pytest.mark.parametrize("body", [{"grace_s": -1}, {"grace_s": 1e9}, {"grace_s": "soon"}, {"more": 1}], ids=str)
def test_a_rotation_that_makes_no_sense_is_422(ask: Ask, body: dict[str, Any]) -> None:
    """And the token stays as it is."""
    token = ask("POST", "/tokens", json={"name": "ana", "role": "viewer"}).get_json()
    assert ask("POST", f"/tokens/{token['id']}/rotate", json=body).status_code == 422
    assert [each["id"] for each in ask("GET", "/tokens").get_json()["tokens"]] == [token["id"]]


def test_how_a_tokens_rate_stands_is_on_its_answers(settings: Settings) -> None:
    """RATE_LIMIT=3/minute: what is left counts down to a 429, also on refusals; nothing on open routes."""
    app = create_app(settings.model_copy(update={"rate_limit": "3/minute"}), Database(settings.ledger_url), NOBODY_THERE)
    client, admin = app.test_client(), {"Authorization": f"Bearer {KEY}"}
    answers = [client.get(path, headers=admin) for path in ("/jobs", "/jobs/none", "/jobs", "/jobs")]
    assert [answer.status_code for answer in answers] == [200, 404, 200, 429]
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert {answer.headers["RateLimit-Limit"] for answer in answers} == {"3"}
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {"3;w=60"}
    assert 50 <= int(answers[-1].headers["RateLimit-Reset"]) <= 60
    assert "RateLimit-Limit" not in client.get("/livez").headers
    close(app)


def test_without_a_limit_there_is_nothing_to_tell(ask: Ask) -> None:
    """No RateLimit header at all."""
    assert not [name for name in ask("GET", "/jobs").headers.keys() if name.startswith("RateLimit")]  # noqa: SIM118 - not a dict
