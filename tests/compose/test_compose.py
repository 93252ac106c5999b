"""`docker compose up --build --scale worker=3`, for real, then the profiles `edge` and `backup`: needs COMPOSE_COMMAND."""

from __future__ import annotations

import gzip
import os
import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from benchmarks.stack import until
from tests.compose.containers import SCALE, SECRETS, Project
from tests.compose.kept import ROWS, label, load, told

pytestmark = pytest.mark.compose
OURS = {"api", "worker", "bulk", "trainer", "quarantine", "beat", "sweeper", "dashboard", "flower"}
ROOT_CERTIFICATE = "/data/caddy/pki/authorities/local/root.crt"
SERVICES = OURS | {"mlflow", "redis", "postgres"}


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
    """Twelve services, the worker three times, each with a healthcheck that holds; the API says so too."""
    containers = project.containers()
    assert {container["Service"] for container in containers} == SERVICES
    assert {container["Health"] for container in containers} == {"healthy"}
    assert sum(container["Service"] == "worker" for container in containers) == SCALE
    until(lambda: project.client.get("/health").json()["status"] == "ok", 60, "the API says that all is well")


def test_only_the_api_and_the_pages_are_published_and_on_loopback(project: Project) -> None:
    """Neither store, nor MLflow, nor a worker can be reached from outside."""
    published = {
        (container["Service"], address["URL"])
        for container in project.containers()
        for address in container["Publishers"] or []
        if address["PublishedPort"]
    }
    assert published == {("api", "127.0.0.1"), ("dashboard", "127.0.0.1"), ("flower", "127.0.0.1")}


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


def test_a_killed_worker_loses_no_job(project: Project) -> None:
    """All processes of one worker die amid the jobs: every job ends well, and the worker comes back."""
    ids = project.predict(30)
    project("exec", "-T", "--index", "2", "worker", "sh", "-c", "kill -9 -1; true")
    ids += project.predict(60)
    assert project.statuses(ids) == {"succeeded"}
    until(lambda: project.healthy("worker") == SCALE, 90, "the worker is back")


@pytest.fixture(scope="module")
def edge(project: Project) -> ssl.SSLContext:
    """What a client has to trust once the edge runs, as docs/security.md has it."""
    project("--profile", "edge", "up", "-d", "--build", "--no-recreate", "edge", timeout_s=240)
    until(lambda: "BEGIN CERTIFICATE" in _root_certificate(project), 60, "the edge has made its CA")
    return ssl.create_default_context(cadata=_root_certificate(project))


def _root_certificate(project: Project) -> str:
    return project("exec", "-T", "edge", "sh", "-c", f"cat {ROOT_CERTIFICATE} 2>/dev/null; true")


def _browser(project: Project, edge: ssl.SSLContext, name: str) -> httpx.Client:
    return httpx.Client(
        base_url=f"https://127.0.0.1:{project.values['EDGE_HTTPS_PORT']}",
        headers={"Host": name},
        verify=edge,
        timeout=70,
        trust_env=False,
        event_hooks={"request": [lambda request: request.extensions.update(sni_hostname=name)]},
    )


def test_a_prediction_is_answered_over_https(project: Project, edge: ssl.SSLContext) -> None:
    """Posted, waited for and followed as a stream of events through the edge, which believes nobody's word about an address."""
    with _browser(project, edge, "localhost") as client:
        client.headers["Authorization"] = project.client.headers["Authorization"]
        answer = client.post("/predict", json={"instances": ROWS}, headers={"Prefer": "wait=60"})
        assert answer.json()["status"] == "succeeded"
        assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")
        with client.stream("GET", answer.json()["links"]["events"]) as events:
            assert any('"succeeded"' in line for line in events.iter_lines())
        forged = {"X-Forwarded-For": "203.0.113.7"}
        assert client.post("/tokens", json={"name": "edge", "role": "viewer"}, headers=forged).status_code == 201
    address = project.client.get("/audit").json()["audit"][0]["address"]
    inside = project("exec", "-T", "edge", "hostname", "-i").split()
    assert address not in ("203.0.113.7", *inside)


def test_the_pages_are_behind_it_too(project: Project, edge: ssl.SSLContext) -> None:
    """The dashboard sends a stranger to its login, Flower asks for one, and plain HTTP is led to HTTPS."""
    with _browser(project, edge, "dashboard.localhost") as browser:
        assert browser.get("/", headers={"Accept": "text/html"}).status_code == 303
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
    project("--profile", "edge", "down", "--timeout", "15", timeout_s=120)
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
    assert [name for name in SECRETS if project.values[name].encode() in contents] == []
    project("down", "-v", "--timeout", "15", timeout_s=120)
    project("up", "-d", "--wait", "postgres", timeout_s=120)
    project.piped("run", "--rm", "-T", "backup", "restore", "-", given=archive, timeout_s=120)
    project.up_again()
    assert project.statuses(accepted) == {"succeeded"}
    after = told(project)
    assert after.answers == before.answers
    assert after.labelled == before.labelled
    assert _ids(after.decisions) >= _ids(before.decisions)
    assert [each for each in after.versions if each in before.versions] == before.versions


def _ids(rows: list[dict[str, Any]]) -> set[str]:
    return {str(row["id"]) for row in rows}


def _hosts(project: Project, ids: list[str]) -> set[str]:
    quoted = ", ".join(f"'{job}'" for job in ids)
    return {owner.partition("/")[0] for owner in project.sql(f"select distinct owner from jobs where id in ({quoted})")}
