"""The stores over TLS by URL: real servers with certificates of a private CA, and a whole stack that works on them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy.exc import OperationalError

from benchmarks.chaos.servers import Missing, Postgres
from benchmarks.stack import Stack
from embedded.ports import free_port
from storage.database import Database
from tests.authority import Authority
from tests.needs import absent, program

pytestmark = pytest.mark.attack
PASSWORD = "of-the-broker"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    program("openssl")
    made = Authority(tmp_path_factory.mktemp("ca"))
    made.make()
    made.certify("server", "127.0.0.1")
    return made


@pytest.fixture(scope="module")
def broker(authority: Authority) -> Iterator[int]:
    """A Redis that speaks nothing but TLS; its port."""
    port = free_port()
    options = f"--port 0 --tls-port {port} --tls-auth-clients no --requirepass {PASSWORD} --save".split()
    files = ["--tls-cert-file", "server.pem", "--tls-key-file", "server.key", "--tls-ca-cert-file", "ca.pem"]
    server = subprocess.Popen([program("redis-server"), *options, "", *files], cwd=authority.folder, stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    if server.poll() is not None:
        absent("this redis-server was built without TLS")
    yield port
    server.terminate()
    server.wait(10)


@pytest.fixture(scope="module")
def postgres(authority: Authority) -> Iterator[Postgres]:
    """A PostgreSQL that lets nobody in without TLS."""
    folder = Path(tempfile.mkdtemp(prefix="tls-"))
    folder.chmod(0o711)  # its user has to get there
    pem, key = folder / "server.pem", folder / "server.key"
    try:
        made = Postgres(folder / "server", ssl="on", ssl_cert_file=str(pem), ssl_key_file=str(key))
    except Missing as missing:
        absent(str(missing))
    for file in (pem, key):
        shutil.copy(authority.folder / file.name, file)
        if os.geteuid() == 0:
            shutil.chown(file, "postgres")
        file.chmod(0o600)
    (folder / "server" / "db" / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")
    made.start()
    yield made
    made.remove()
    shutil.rmtree(folder)


def test_a_stack_works_on_stores_that_speak_tls(authority: Authority, broker: int, postgres: Postgres, tmp_path: Path) -> None:
    """Every process of it, with the certificates checked, and a job is answered."""
    stack = Stack(
        tmp_path / "stack",
        PROBLEMS_DIR="",
        WORKER_CONCURRENCY="1",
        REDIS_URL=f"rediss://:{PASSWORD}@127.0.0.1:{broker}/0?ssl_cert_reqs=required&ssl_ca_certs={authority.root}",
        DATABASE_URL=f"{postgres.url}?sslmode=verify-full&sslrootcert={authority.root}",
    )
    stack.start()
    try:
        with stack.client() as client:
            job = client.post("/predict", json={"instances": [[1.0, 2.0]]}, headers={"Prefer": "wait=40"}).json()
            assert job["status"] == "succeeded", job
            components = client.get("/health").json()["components"]
        assert {each["status"] for each in components.values()} == {"ok"}
    finally:
        stack.stop()


def test_a_certificate_of_nobody_we_know_is_refused(authority: Authority, broker: int, postgres: Postgres) -> None:
    """By both clients: the system's own CAs did not sign these."""
    url = f"rediss://:{PASSWORD}@127.0.0.1:{broker}/0?ssl_cert_reqs=required"
    with redis.Redis.from_url(url) as client, pytest.raises(redis.ConnectionError, match="CERTIFICATE"):
        client.ping()
    database = Database(f"{postgres.ledger_url}?sslmode=verify-full&sslrootcert=system")
    with pytest.raises(OperationalError), database.read():
        pass
    database.close()


def test_nothing_gets_in_without_tls(broker: int, postgres: Postgres) -> None:
    plain = redis.Redis(port=broker, password=PASSWORD, socket_timeout=5)
    with pytest.raises(redis.RedisError):
        plain.ping()
    plain.close()
    database = Database(f"{postgres.ledger_url}?sslmode=disable")
    with pytest.raises(OperationalError, match="no encryption"), database.read():
        pass
    database.close()
