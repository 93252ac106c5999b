"""`docker compose up --build --scale worker=3`, for real: needs COMPOSE_COMMAND, which `.ci/run` sets."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest

from tests.compose.containers import SCALE, Project

pytestmark = pytest.mark.compose
OURS = {"api", "worker", "bulk", "trainer", "quarantine", "beat", "sweeper", "dashboard", "flower"}
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


def until(what: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.5)


def test_every_service_is_up_and_healthy(project: Project) -> None:
    """Twelve services, the worker three times, each with a healthcheck that holds; the API says so too."""
    containers = project.containers()
    assert {container["Service"] for container in containers} == SERVICES
    assert {container["Health"] for container in containers} == {"healthy"}
    assert sum(container["Service"] == "worker" for container in containers) == SCALE
    until(lambda: project.client.get("/health").json()["status"] == "ok", 60)


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
    until(
        lambda: sum(c["Service"] == "worker" and c["Health"] == "healthy" for c in project.containers()) == SCALE,
        90,
    )


def test_what_was_accepted_outlives_down_and_up(project: Project) -> None:
    """The volumes keep the ledger, the queue and the models."""
    before = project.client.get("/model-status").json()["version"]
    (job,) = project.predict(1)
    project("down", "--timeout", "15", timeout_s=120)
    project.up()
    assert project.statuses([job]) == {"succeeded"}
    assert int(project.client.get("/model-status").json()["version"]) >= int(before)


def _hosts(project: Project, ids: list[str]) -> set[str]:
    quoted = ", ".join(f"'{job}'" for job in ids)
    return {owner.partition("/")[0] for owner in project.sql(f"select distinct owner from jobs where id in ({quoted})")}
