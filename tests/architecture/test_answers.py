"""`deploy/answers`, the health check of every container that listens."""

from __future__ import annotations

import subprocess
from urllib.parse import urlsplit

from embedded.ports import free_port
from tests.architecture.law import ROOT
from tests.notify.webhook import Answer, webhook


def answers(port: int, path: str) -> bool:
    asked = subprocess.run([ROOT / "deploy" / "answers", str(port), path], capture_output=True, timeout=10, check=False)
    return asked.returncode == 0


def test_only_a_200_is_well() -> None:
    with webhook() as page:
        page.answers = [Answer(200), Answer(503)]
        port = urlsplit(page.url).port or 0
        assert answers(port, "/well")
        assert not answers(port, "/ill")
    assert [(seen.method, seen.path) for seen in page.seen] == [("GET", "/well"), ("GET", "/ill")]


def test_where_nobody_listens_nothing_is_well() -> None:
    assert not answers(free_port(), "/well")
