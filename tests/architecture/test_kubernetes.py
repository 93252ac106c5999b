"""The manifests: every part of the compose file is there, with the same command, locked as tightly, and watched."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.kinds import QUEUES
from tests.architecture.law import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
PARTS = {"api", "worker", "bulk", "trainer", "quarantine", "sweeper", "beat", "dashboard", "flower"}


def read(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """By name."""
    found = [each for path in sorted((FOLDER / "base").glob("*.yaml")) for each in read(path) if each.get("kind") == kind]
    return {each["metadata"]["name"]: each for each in found if each["metadata"]["name"] != "any"}


def main_of(workload: dict[str, Any]) -> dict[str, Any]:
    main: dict[str, Any] = workload["spec"]["template"]["spec"]["containers"][0]
    return main


def test_every_part_of_the_compose_file_runs_the_same_command() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert {name: main_of(each)["args"] for name, each in of_kind("Deployment").items()} == {
        name: services[name]["command"] for name in PARTS
    }


def test_who_listens_to_nobody_is_asked_what_the_compose_file_asks() -> None:
    """A worker's, beat's and sweeper's probes are the health check there."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    asked = {name: main_of(each) for name, each in of_kind("Deployment").items() if "exec" in main_of(each)["livenessProbe"]}
    assert asked.keys() == PARTS - {"api", "dashboard", "flower"}
    for name, main in asked.items():
        for probe in ("livenessProbe", "startupProbe"):
            assert ["CMD", *main[probe]["exec"]["command"]] == services[name]["healthcheck"]["test"]


def test_every_part_is_watched_and_bounded() -> None:
    """Probes, a limit of memory, and what it will need."""
    for name, each in of_kind("Deployment").items():
        main = main_of(each)
        assert {"livenessProbe", "startupProbe"} <= main.keys(), name
        assert ("readinessProbe" in main) == ("ports" in main), name
        assert "memory" in main["resources"]["limits"], name
        assert {"cpu", "memory"} <= main["resources"]["requests"].keys(), name


def test_who_must_not_be_away_has_a_second_and_a_budget() -> None:
    """An upgrade of the cluster's hosts takes one of them at a time."""
    several = {name for name, each in of_kind("Deployment").items() if each["spec"]["replicas"] > 1}
    assert several == of_kind("PodDisruptionBudget").keys() == {"api", "worker", "sweeper", "beat"}


@pytest.mark.parametrize(
    "path", ["base/locked.yaml", "overlays/stores/redis.yaml", "overlays/stores/postgres.yaml", "overlays/stores/mlflow.yaml"]
)
def test_no_pod_is_root_or_may_write_to_its_image(path: str) -> None:
    """What the namespace's own rule (`restricted`) asks for, and a read-only image."""
    pod = read(FOLDER / path)[0]["spec"]["template"]["spec"]
    main = pod["containers"][0]["securityContext"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert main["allowPrivilegeEscalation"] is False
    assert main["readOnlyRootFilesystem"] is True
    assert main["capabilities"] == {"drop": ["ALL"]}


def test_scaling_asks_for_the_age_of_queues_that_there_are() -> None:
    for each in read(FOLDER / "overlays" / "keda" / "scaling.yaml"):
        query = each["spec"]["triggers"][0]["metadata"]["query"]
        assert query in {f'max(continual_queue_oldest_seconds{{queue_name="{queue}"}})' for queue in QUEUES}
        assert each["spec"]["scaleTargetRef"]["name"] in PARTS


@pytest.mark.parametrize("folder", ["base", "overlays/stores", "overlays/keda"])
def test_they_can_be_built(folder: str) -> None:
    """Where there is a kubectl."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("no kubectl on this machine")
    built = subprocess.run([program, "kustomize", str(FOLDER / folder)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    kinds = [each["kind"] for each in yaml.safe_load_all(built.stdout)]
    assert kinds.count("Deployment") == len(PARTS)
