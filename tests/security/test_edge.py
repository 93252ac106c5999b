"""HTTPS at the edge: a real Caddy with a CA of its own, before a running stack."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.stack import Stack, until
from embedded.ports import free_port
from tests import https
from tests.architecture.law import ROOT
from tests.needs import program

pytestmark = pytest.mark.attack
CADDYFILE = ROOT / "deploy" / "edge" / "Caddyfile"


class Edge:
    """A Caddy that serves localhost, dashboard.localhost and flower.localhost."""

    def __init__(self, folder: Path, caddy: str, stack: Stack) -> None:
        self.http, self.https, self.folder = free_port(), free_port(), folder
        env = {
            **{name: os.environ[name] for name in ("PATH",) if name in os.environ},
            "XDG_DATA_HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "EDGE_HTTP_PORT": str(self.http),
            "EDGE_HTTPS_PORT": str(self.https),
            "EDGE_API": f"127.0.0.1:{stack.port}",
            "EDGE_DASHBOARD": f"127.0.0.1:{stack.env['DASHBOARD_PORT']}",
            "EDGE_FLOWER": f"127.0.0.1:{stack.env['FLOWER_PORT']}",
            "MAX_BODY_MB": "1",
        }
        command = [caddy, "run", "--config", str(CADDYFILE), "--adapter", "caddyfile"]
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log)
        root = folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        until(lambda: root.exists() and self._listens(), 30, self.log.read_text())
        self.trust = ssl.create_default_context(cafile=root)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.https)) == 0

    def client(self, name: str = "localhost", trust: ssl.SSLContext | None = None) -> httpx.Client:
        """Speaks HTTPS to one of the three names."""
        return https.client(self.https, trust or self.trust, name)


@pytest.fixture(scope="module")
def edge(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Skipped without a Caddy; under CI=true that fails."""
    made = Edge(tmp_path_factory.mktemp("edge"), program("caddy"), stack)
    yield made
    made.process.terminate()
    made.process.wait(20)


def test_plain_http_is_led_to_https(edge: Edge) -> None:
    """And answered with nothing else."""
    answer = httpx.get(f"http://127.0.0.1:{edge.http}/jobs", headers={"Host": "localhost"}, trust_env=False)
    assert answer.status_code == 308
    assert answer.headers["Location"] == "https://localhost/jobs"


def test_the_api_speaks_tls_and_tells_browsers_to_stay_with_it(edge: Edge) -> None:
    """With a certificate of the private CA, which nobody else trusts."""
    with edge.client() as client:
        answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")
    assert "Server" not in answer.headers
    with edge.client(trust=ssl.create_default_context()) as stranger, pytest.raises(httpx.ConnectError, match="CERTIFICATE"):
        stranger.get("/health")


def test_a_job_is_posted_and_followed_through_it(edge: Edge, admin: httpx.Client) -> None:
    """Events come when they happen, not when the stream ends."""
    with edge.client() as client:
        client.headers["Authorization"] = admin.headers["Authorization"]
        job = client.post("/predict", json={"instances": [[1.0, 2.0]]}).json()
        with client.stream("GET", job["links"]["events"]) as events:
            last = [line for line in events.iter_lines() if line.startswith("data:")][-1]
    assert '"succeeded"' in last


def test_heads_and_bodies_have_their_limits(edge: Edge, admin: httpx.Client) -> None:
    """16 KiB at the edge; MAX_BODY_MB is the API's own 413."""
    with edge.client() as client:
        assert client.get("/livez", headers={"X-Long": "x" * 40_000}).status_code == 431
        client.headers["Authorization"] = admin.headers["Authorization"]
        answer = client.post("/predict?model=default", content=b"x" * (33 << 20), headers={"Content-Type": "text/csv"})
        assert answer.status_code == 413


def test_an_address_cannot_be_forged(edge: Edge, admin: httpx.Client) -> None:
    """What a client claims of itself is not what the audit log says."""
    with edge.client() as client:
        client.headers["Authorization"] = admin.headers["Authorization"]
        for forged in ("203.0.113.7", "203.0.113.7, 198.51.100.1"):
            made = client.post("/tokens", json={"name": "edge", "role": "viewer"}, headers={"X-Forwarded-For": forged})
            assert made.status_code == 201
    told = admin.get("/audit").json()["audit"][:2]
    assert {act["address"] for act in told} == {"127.0.0.1"}


def test_the_dashboard_s_cookie_is_for_https_alone(edge: Edge, stack: Stack) -> None:
    """Its door sees through the proxy that the browser came by HTTPS."""
    with edge.client("dashboard.localhost") as browser:
        until(lambda: browser.get("/_stcore/health").status_code == 200, 60, "the dashboard serves")
        password = (stack.data / "dashboard_password").read_text().strip()
        assert browser.get("/", headers={"Accept": "text/html"}).status_code == 303
        answer = browser.post("/login", data={"password": password, "next": "/"})
    assert answer.status_code == 303
    assert {"secure", "httponly"} <= {part.strip().lower() for part in answer.headers["Set-Cookie"].split(";")}


def test_flower_wants_its_login(edge: Edge, stack: Stack) -> None:
    user, _, password = (stack.data / "flower_auth").read_text().strip().partition(":")
    with edge.client("flower.localhost") as browser:
        until(lambda: browser.get("/healthcheck").status_code == 200, 60, "Flower serves")
        assert browser.get("/").status_code == 401
        assert browser.get("/", auth=(user, password)).status_code == 200


def test_other_names_are_answered_by_nothing(edge: Edge) -> None:
    """No certificate for a name that is not ours."""
    with edge.client("evil.example") as client, pytest.raises(httpx.ConnectError):
        client.get("/health")
