"""Who may come in: tokens, roles, limits; and what is on every answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.app import close, create_app
from api.limits import Buckets
from settings import Settings
from storage import tokens
from storage.database import Database
from tests.api.conftest import KEY, NOBODY_THERE, Ask

NOBODY = "0b5c9e0e-0000-4000-8000-000000000000"
ROLES = ["viewer", "client", "operator", "admin"]


def routes() -> list[tuple[str, str, str]]:
    """Every route that needs a role, as it describes itself."""
    from api.app import NOUNS

    described = [each for noun in NOUNS for each in noun.routes.described]
    return [(each.method, each.path, each.role) for each in described if each.role]


@pytest.fixture
def secrets(ask: Ask) -> dict[str, str]:
    """A token of each role."""
    made = {role: ask("POST", "/tokens", json={"name": f"t-{role}", "role": role}) for role in ROLES[:-1]}
    assert {answer.status_code for answer in made.values()} == {201}
    return {role: answer.get_json()["token"] for role, answer in made.items()} | {"admin": KEY}


@pytest.mark.parametrize(("method", "path", "role"), routes())
def test_a_route_opens_from_its_role_upwards(
    client: FlaskClient, secrets: dict[str, str], method: str, path: str, role: str
) -> None:
    """401 without a token, 403 below its role, anything else from there; never a look at body or id before."""
    url = path.format(id=NOBODY, name="nope")
    answer = client.open(url, method=method, data=b"{", content_type="application/json")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    for held in ROLES:
        code = client.open(url, method=method, headers={"Authorization": f"Bearer {secrets[held]}"}).status_code
        assert code != 401
        assert (code == 403) == (ROLES.index(held) < ROLES.index(role)), held


WRONG = {"nothing": None, "wrong": "Bearer wrong", "longer": f"Bearer {KEY}x", "shorter": f"Bearer {KEY[:-1]}", "empty": "Bearer"}
WRONG |= {"broken basic": "Basic é"}
WRONG |= {"blank": "Bearer ", "not ASCII": "Bearer ééé", "no scheme": KEY, "basic": "Basic YWRtaW46YQ=="}


@pytest.mark.parametrize("case", WRONG)
def test_a_missing_or_wrong_token_is_401(client: FlaskClient, case: str) -> None:
    """Whatever the header holds, and before the body is looked at; unknown ids too."""
    headers = {"Authorization": WRONG[case]} if WRONG[case] else {}
    for method, path in (("GET", "/jobs"), ("POST", "/predict"), ("GET", "/jobs/none")):
        answer = client.open(path, method=method, data=b"{", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert client.get(f"/jobs?token={KEY}&access_token={KEY}").status_code == 401


def test_a_token_is_shown_once_and_kept_as_a_hash(ask: Ask, database: Database) -> None:
    """The list and the table never hold the secret."""
    made = ask("POST", "/tokens", json={"name": "grün ☂", "role": "viewer", "expires_at": None})
    secret = made.get_json()["token"]
    assert len(secret) >= 43
    listed = ask("GET", "/tokens").get_json()["tokens"]
    assert [(each["id"], each["name"], "token" in each) for each in listed] == [(made.get_json()["id"], "grün ☂", False)]
    with database.read() as tx:
        assert secret not in str(tokens.listed(tx, 10, None))


def test_revocation_holds_from_the_next_request(client: FlaskClient, ask: Ask) -> None:
    """204, then 401; revoked again 404."""
    made = ask("POST", "/tokens", json={"name": "brief", "role": "viewer"}).get_json()
    mine = {"Authorization": f"Bearer {made['token']}"}
    assert client.get("/jobs", headers=mine).status_code == 200
    assert ask("DELETE", f"/tokens/{made['id']}").status_code == 204
    assert client.get("/jobs", headers=mine).status_code == 401
    assert ask("DELETE", f"/tokens/{made['id']}").status_code == 404


def test_expiry_holds_at_its_moment(settings: Settings) -> None:
    """A token of ten seconds, on a clock of the test's own."""
    now = [1_800_000_000.0]
    app = create_app(settings, Database(settings.ledger_url), NOBODY_THERE, clock=lambda: now[0])
    client, admin = app.test_client(), {"Authorization": f"Bearer {KEY}"}
    body = {"name": "brief", "role": "viewer", "expires_at": "2027-01-15T08:00:10Z"}
    made = client.post("/tokens", json=body, headers=admin).get_json()
    assert made["expires_at"] == "2027-01-15T08:00:10.000Z"
    mine = {"Authorization": f"Bearer {made['token']}"}
    assert client.get("/jobs", headers=mine).status_code == 200
    now[0] += 10
    assert client.get("/jobs", headers=mine).status_code == 401
    past = client.post("/tokens", json=body, headers=admin)
    assert past.status_code == 422
    close(app)


NONSENSE: list[dict[str, Any]] = [
    {}, {"name": "x"}, {"name": "x", "role": "king"}, {"name": 1, "role": "viewer"}, {"name": "", "role": "viewer"},
    {"name": "a\nb", "role": "viewer"}, {"name": "x", "role": "viewer", "expires_at": "soon"},
    {"name": "x", "role": "viewer", "expires_at": "9999-12-31T23:59:59-23:00"},
    {"name": "x", "role": "viewer", "expires_at": "2030-01-01T00:00:00"}, {"name": "x", "role": "viewer", "expires_at": 5},
    {"name": "x\x00", "role": "viewer"}, {"name": "x", "role": "viewer", "admin": True},
]  # fmt: skip


@pytest.mark.parametrize("body", NONSENSE, ids=str)
def test_a_token_that_makes_no_sense_is_422(ask: Ask, body: dict[str, Any]) -> None:
    """And none is made."""
    assert ask("POST", "/tokens", json=body).status_code == 422
    assert ask("GET", "/tokens").get_json()["tokens"] == []


def test_guessing_is_slowed_down_and_the_right_token_is_not(app: Flask, ask: Ask, client: FlaskClient) -> None:
    """After so many wrong tokens from one address: 429 with Retry-After; no token at all stays 401."""
    object.__setattr__(app.extensions["house"], "failures", Buckets(3, 60))
    codes = [client.get("/jobs", headers={"Authorization": f"Bearer {n}"}) for n in range(5)]
    assert [answer.status_code for answer in codes] == [401, 401, 401, 429, 429]
    assert int(codes[-1].headers["Retry-After"]) >= 1
    assert client.get("/jobs").status_code == 401
    assert ask("GET", "/jobs").status_code == 200


@pytest.fixture
def limited(settings: Settings) -> Iterator[FlaskClient]:
    """An API with RATE_LIMIT=2/minute."""
    app = create_app(settings.model_copy(update={"rate_limit": "2/minute"}), Database(settings.ledger_url), NOBODY_THERE)
    yield app.test_client()
    close(app)


def test_a_token_over_its_rate_is_429(limited: FlaskClient) -> None:
    """The third request of a minute waits; open routes do not."""
    admin = {"Authorization": f"Bearer {KEY}"}
    answers = [limited.get("/jobs", headers=admin) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert limited.get("/livez").status_code == 200


def test_buckets_refill_and_forget() -> None:
    """Two at once, one each 30 s after; full buckets are dropped when there are too many."""
    now = [0.0]
    buckets = Buckets(2, 60, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 30]
    now[0] = 30
    assert [buckets.take("a") for _ in range(2)] == [0, 30]
    for n in range(10_001):
        buckets.take(str(n))
    assert len(buckets._levels) <= 10_001


@pytest.mark.parametrize("given", ["a" * 129, "naïve", "a b", "", "x\ty", "<script>"])
def test_a_request_id_that_is_not_sane_is_replaced(client: FlaskClient, given: str) -> None:
    """A fresh one each time; a sane one comes back also on refusals."""
    ids = {client.get("/livez", headers={"X-Request-ID": given}).headers["X-Request-ID"] for _ in range(2)}
    assert len(ids) == 2
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in ids)
    for path in ("/livez", "/jobs", "/nowhere"):
        assert client.get(path, headers={"X-Request-ID": "my.id-1_2"}).headers["X-Request-ID"] == "my.id-1_2"


def test_no_header_can_be_smuggled_in(ask: Ask) -> None:
    """Line breaks in paths, queries and names."""
    line = "x%0d%0aSet-Cookie:%20a=b"
    csv = {"data": b"x", "content_type": "text/csv"}
    answers = [ask("GET", f"/jobs/{line}"), ask("GET", f"/jobs?model={line}"), ask("POST", f"/datasets?model={line}", **csv)]
    answers += [ask("GET", f"/models/{line}"), ask("PUT", f"/models/{line}", json={})]
    assert not any("Set-Cookie" in answer.headers for answer in answers)
    assert [answer.status_code for answer in answers] == [404, 200, 404, 404, 422]


def test_browsers_are_told_to_load_and_frame_nothing(client: FlaskClient) -> None:
    """nosniff and a policy on every answer; the docs page may load its own files only."""
    for path in ("/livez", "/jobs", "/nowhere", "/docs", "/openapi.json"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_the_docs_page_loads_only_what_is_there(client: FlaskClient) -> None:
    """Its script and style are served here; nothing else is."""
    page = client.get("/docs").text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert set(loaded) == {"/docs/docs.css", "/docs/docs.js", "/openapi.json"}
    assert all(client.get(url).status_code == 200 for url in loaded)
    assert client.get("/docs/..%2fapp.py").status_code == 404
    assert client.get("/docs/app.py").status_code == 404


def test_openapi_describes_every_route_and_every_reference_is_there(client: FlaskClient, app: Flask) -> None:
    """3.1; each rule of the app that is not a file of the docs page; no dangling schema."""
    spec = client.get("/openapi.json").get_json()
    assert spec["openapi"].startswith("3.1")
    described = {(method.upper(), path) for path, item in spec["paths"].items() for method in item}
    rules = {
        (method, re.sub(r"<(\w+?)_?>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not rule.rule.startswith("/docs/")
    }
    assert described == rules
    wanted = set(re.findall(r"#/components/schemas/(\w+)", client.get("/openapi.json").text))
    assert wanted <= set(spec["components"]["schemas"])
    job = spec["paths"]["/predict"]["post"]
    assert {"202", "200", "400", "401", "403", "413", "415", "422", "429", "503"} <= set(job["responses"])
    assert "application/problem+json" in job["responses"]["422"]["content"]


def test_head_and_options_are_answered(client: FlaskClient) -> None:
    """HEAD has no body, OPTIONS says what is allowed."""
    head = client.head("/livez")
    assert (head.status_code, head.data) == (200, b"")
    assert "POST" in client.options("/predict").headers["Allow"]
