"""`docker compose up --build` with three workers and the edge, for real, then the profile `backup`: needs COMPOSE_COMMAND."""

from __future__ import annotations

import gzip
import os
import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from benchmarks.drills.told import PROBE
from benchmarks.stack import until
from tests import https
from tests.compose.containers import SCALE, Project
from tests.compose.kept import label, load, told

pytestmark = pytest.mark.compose
OURS = {"api", "worker", "bulk", "trainer", "quarantine", "beat", "sweeper", "dashboard", "flower"}
SOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
}
ROOT_CERTIFICATE = "/data/caddy/pki/authorities/local/root.crt"
SERVICES = OURS | {"mlflow", "redis", "postgres", "edge"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    command = os.environ.get("COMPOSE_COMMAND", "")
    if not command:
        pytest.skip("COMPOSE_COMMAND is not set, for example to `docker compose`")
    made = Project(command, tmp_path_factory.mktemp("compose"))
    try:
        made.up()
        yield made
    finally:
        made.client.close()
        print(made("logs", "--no-color", "--tail", "15"))
        made("down", "-v", "--remove-orphans", "--timeout", "5", timeout_s=120)


def test_every_service_is_up_and_healthy(project: Project) -> None:
    """Thirteen services, the worker three times as `.env` has it, each with a healthcheck that holds; the API says so too."""
    containers = project.containers()
    assert {container["Service"] for container in containers} == SERVICES
    assert {container["Health"] for container in containers} == {"healthy"}
    assert sum(container["Service"] == "worker" for container in containers) == SCALE
    until(lambda: project.client.get("/health").json()["status"] == "ok", 60, "the API says that all is well")


def test_only_the_api_the_pages_and_their_edge_are_published(project: Project) -> None:
    """Neither store, nor MLflow, nor a worker can be reached from outside; the edge stands on loopback as `.env` asks here."""
    published = {
        (container["Service"], address["URL"])
        for container in project.containers()
        for address in container["Publishers"] or []
        if address["PublishedPort"]
    }
    assert published == {(service, "127.0.0.1") for service in ("api", "dashboard", "flower", "edge")}


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_no_service_is_root_or_can_write_its_image(project: Project, service: str) -> None:
    """Another user than root, and a root file system that takes no file."""
    script = "id -u; touch /stain 2>/dev/null && echo stained || echo clean"
    user, stain = project("exec", "-T", service, "sh", "-c", script).split()
    assert user != "0"
    assert stain == "clean"


def test_the_loop_makes_the_first_model_and_three_workers_share_the_jobs(project: Project) -> None:
    """Ninety jobs posted before anyone made a model: all succeed, and each worker did some."""
    ids = project.predict(90)
    assert project.statuses(ids) == {"succeeded"}
    assert len(_hosts(project, ids)) == SCALE


def test_doctor_finds_all_well_where_clients_come_by_another_address(project: Project) -> None:
    """Asked as docs/operations.md has it, where API_BASE_URL is the edge, whose CA no container trusts."""
    assert "http://api:8000 answers" in project("exec", "-T", "api", "continual", "doctor")


def test_a_killed_worker_loses_no_job(project: Project) -> None:
    """All processes of one worker die amid the jobs: every job ends well, and the worker comes back."""
    ids = project.predict(30)
    project("exec", "-T", "--index", "2", "worker", "sh", "-c", "kill -9 -1; true")
    ids += project.predict(60)
    assert project.statuses(ids) == {"succeeded"}
    until(lambda: project.healthy("worker") == SCALE, 90, "the worker is back")


@pytest.fixture(scope="module")
def edge(project: Project) -> ssl.SSLContext:
    """What a client has to trust, as docs/security.md has it."""
    return ssl.create_default_context(cadata=project("exec", "-T", "edge", "cat", ROOT_CERTIFICATE))


def _browser(project: Project, edge: ssl.SSLContext, name: str) -> httpx.Client:
    return https.client(project.values["EDGE_HTTPS_PORT"], edge, name)


def test_a_prediction_is_answered_over_https(project: Project, edge: ssl.SSLContext) -> None:
    """Posted, waited for, polled and followed as events through the edge, which believes nobody's word about an address."""
    with _browser(project, edge, "localhost") as client:
        client.headers["Authorization"] = project.client.headers["Authorization"]
        answer = client.post("/predict", json={"instances": PROBE}, headers={"Prefer": "wait=60"})
        assert answer.json()["status"] == "succeeded"
        assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")
        assert "Alt-Svc" not in answer.headers  # it would name a port that only the container has
        assert _polled(client) == "succeeded"
        with client.stream("GET", answer.json()["links"]["events"]) as events:
            assert any('"succeeded"' in line for line in events.iter_lines())
        forged = {"X-Forwarded-For": "203.0.113.7"}
        assert client.post("/tokens", json={"name": "edge", "role": "viewer"}, headers=forged).status_code == 201
    address = project.client.get("/audit").json()["audit"][0]["address"]
    inside = project("exec", "-T", "edge", "hostname", "-i").split()
    assert address not in ("203.0.113.7", *inside)


def _polled(client: httpx.Client) -> str:
    job = client.post("/predict", json={"instances": PROBE}).json()["id"]
    return str(client.get(f"/jobs/{job}", params={"wait": 60}).json()["status"])


def test_bodies_have_the_limit_of_the_api_through_it(project: Project, edge: ssl.SSLContext) -> None:
    """A table of 63 MiB is accepted and one byte more than MAX_BODY_MB is a 413 that names the limit."""
    most = int(project.values["MAX_BODY_MB"]) << 20
    with _browser(project, edge, "localhost") as client:
        client.headers.update({"Authorization": project.client.headers["Authorization"], "Content-Type": "text/csv"})
        refused = client.post("/predict", content=b"x" * (most + 1))
        taken = client.post("/predict", content=b"x" * (most - (1 << 20)))
    assert (refused.status_code, taken.status_code) == (413, 202)
    assert project.values["MAX_BODY_MB"] in refused.json()["detail"]


def test_the_pages_are_behind_it_too(project: Project, edge: ssl.SSLContext) -> None:
    """The dashboard wants a login and then opens its socket, Flower asks for one, and plain HTTP is led to HTTPS."""
    with _browser(project, edge, "dashboard.localhost") as browser:
        assert browser.get("/", headers={"Accept": "text/html"}).status_code == 303
        origin = {"Origin": "https://dashboard.localhost"}
        assert browser.post("/login", data={"password": project.values["DASHBOARD_PASSWORD"]}, headers=origin).status_code == 303
        with browser.stream("GET", "/_stcore/stream", headers=origin | SOCKET) as socket:
            assert socket.status_code == 101
    with _browser(project, edge, "flower.localhost") as browser:
        assert browser.get("/").status_code == 401
        login, _, password = project.values["FLOWER_BASIC_AUTH"].partition(":")
        assert browser.get("/", auth=(login, password)).status_code == 200
    plain = f"http://127.0.0.1:{project.values['EDGE_HTTP_PORT']}/jobs"
    assert httpx.get(plain, headers={"Host": "localhost"}, trust_env=False).status_code == 308


def test_what_was_accepted_outlives_down_and_up(project: Project) -> None:
    """The volumes keep the ledger, the queue and the models."""
    before = project.client.get("/model-status").json()["version"]
    (job,) = project.predict(1)
    project("down", "--timeout", "15", timeout_s=120)
    project.up_again()
    assert project.statuses([job]) == {"succeeded"}
    assert int(project.client.get("/model-status").json()["version"]) >= int(before)


def test_a_lost_disk_costs_nothing_that_was_backed_up(project: Project) -> None:
    """Backed up under load, every volume removed, restored by the steps of docs/operations.md.

    All that was accepted before the backup ends well, and what the stack tells is the same; the archive holds no secret.
    """
    label(project, 10)
    before = told(project)
    with load(project) as ids:
        until(lambda: len(ids) >= 20, 30, "there is load")
        accepted = list(ids)
        archive = project.piped("run", "--rm", "-T", "backup", timeout_s=120)
    contents = gzip.decompress(archive)
    assert [name for name, secret in project.secrets.items() if secret.encode() in contents] == []
    project("down", "-v", "--timeout", "15", timeout_s=120)
    project("up", "-d", "--wait", "postgres", timeout_s=120)
    project.piped("run", "--rm", "-T", "backup", "restore", "-", given=archive, timeout_s=120)
    project.up_again()
    assert project.statuses(accepted) == {"succeeded"}
    after = told(project)
    assert after.answers == before.answers
    assert after.labels == before.labels
    assert _ids(after.decisions) >= _ids(before.decisions)
    assert [each for each in after.versions if each in before.versions] == before.versions


def _ids(rows: list[dict[str, Any]]) -> set[str]:
    return {str(row["id"]) for row in rows}


def _hosts(project: Project, ids: list[str]) -> set[str]:
    quoted = ", ".join(f"'{job}'" for job in ids)
    return {owner.partition("/")[0] for owner in project.sql(f"select distinct owner from jobs where id in ({quoted})")}
