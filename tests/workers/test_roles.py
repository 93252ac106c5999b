"""Which process serves which queue, in both shapes."""

from __future__ import annotations

import re

import pytest

from jobs.kinds import BULK, PREDICT, QUEUES
from tests.architecture.law import ROOT
from workers.roles import ROLES

EMBEDDED = {"predict", "general", "quarantine"}
COMPOSED = set(re.findall(r"workers, (\w+)\]", (ROOT / "docker-compose.yml").read_text())) & ROLES.keys()


@pytest.mark.parametrize("shape", [EMBEDDED, COMPOSED], ids=["embedded", "composed"])
def test_every_queue_is_served(shape: set[str]) -> None:
    """By some role that is started."""
    assert {queue for role in shape for queue in ROLES[role].queues} == set(QUEUES)


def test_every_role_is_started_somewhere() -> None:
    assert set(ROLES) == EMBEDDED | COMPOSED
    stack = (ROOT / "embedded" / "stack.py").read_text()
    assert set(re.findall(r'"workers", "(\w+)"', stack)) & ROLES.keys() == EMBEDDED


def test_no_process_that_predicts_rows_has_files_to_work_as_well() -> None:
    """However many bulk jobs there are, a row never finds every process of its queue busy with one."""
    assert [name for name, role in ROLES.items() if {PREDICT, BULK} <= set(role.queues)] == []
