"""The doctor's probes, each shown a real fault: a dead or locked broker, no database, no workers, a full disk, a dead webhook."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis

from embedded.broker import find_server
from embedded.ports import free_port
from jobs.kinds import QUEUES
from settings import Settings, read
from storage import heartbeats
from storage.database import Database
from storage.heartbeats import Heartbeat
from storage.migrate import migrate
from tests.notify.webhook import Answer, webhook
from workers.doctor import Finding, examine

NOBODY = "redis://127.0.0.1:1/0"
Given = Callable[..., Settings]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a ledger in which every process has just given a sign of life."""
    url = f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}"
    database = Database(url)
    migrate(database)
    with database.begin() as tx:
        for component, queues in (("worker", ",".join(QUEUES)), ("beat", ""), ("sweeper", ""), ("registry", "")):
            heartbeats.beat(tx, Heartbeat(component, component, queues, True, "", time.time()))
    database.close()
    return url


@pytest.fixture
def given(tmp_path: Path, ledger: str) -> Given:
    """Settings on that ledger, and others where a test says so."""

    def make(**more: object) -> Settings:
        return read(_env_file=None, **{"data_dir": tmp_path, "database_url": ledger, "redis_url": NOBODY} | more)

    return make


def found(settings: Settings, later_s: float = 0.0) -> dict[str, Finding]:
    """Findings by name."""
    return {each.name: each for each in examine(settings, lambda: time.time() + later_s)}


def test_processes_that_gave_a_sign_of_life_are_well(given: Given) -> None:
    """And so are database, disk, and a webhook that nobody set."""
    seen = found(given())
    well = {name for name, each in seen.items() if each.ok}
    assert well == {"settings", "database", "workers", "beat", "sweeper", "registry", "queue", "disk", "webhook"}


def test_silent_processes_are_named(given: Given) -> None:
    """A minute later: no worker, beat stopped, each with what to start."""
    seen = found(given(), later_s=60)
    assert {name for name, each in seen.items() if not each.ok} >= {"workers", "beat", "sweeper", "registry"}
    assert "docker compose up -d beat" in seen["beat"].mend
    assert seen["workers"].detail == "None has given a sign of life for 20 s; jobs wait."


def test_a_broker_that_is_down_is_named(given: Given) -> None:
    """With its address, and that jobs wait."""
    broker = found(given())["broker"]
    assert (broker.ok, broker.detail) == (False, "redis://127.0.0.1:1/0 does not answer (ConnectionError).")


def test_a_wrong_password_of_the_broker_is_named_and_not_shown(given: Given) -> None:
    """A broker behind a password: the wrong one is told apart from no answer, the right one is well."""
    port = free_port()
    command = [find_server().path, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", "right-one"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _await(port)
        wrong = found(given(redis_url=f"redis://:wrong-one@127.0.0.1:{port}/0"))["broker"]
        right = found(given(redis_url=f"redis://:right-one@127.0.0.1:{port}/0"))["broker"]
    finally:
        server.kill()
        server.wait(10)
    assert (wrong.ok, "refuses the password" in wrong.detail, "REDIS_URL" in wrong.mend) == (False, True, True)
    assert "wrong-one" not in wrong.detail
    assert right.ok


def _await(port: int) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            with redis.Redis(port=port, password="right-one", socket_timeout=1) as client:
                client.ping()
            return
        except redis.RedisError:
            time.sleep(0.02)
    pytest.fail("the broker does not start")


def test_the_embedded_broker_is_found_by_what_it_left(given: Given, tmp_path: Path) -> None:
    """No REDIS_URL: its address is in DATA_DIR; where none was ever started, that is said."""
    none = found(given(redis_url=""))["broker"]
    assert none.detail == "No REDIS_URL, and no embedded broker was ever started here."
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "url").write_text("redis://:secret@127.0.0.1:1/0")
    there = found(given(redis_url=""))["broker"]
    assert there.detail == "redis://:***@127.0.0.1:1/0 does not answer (ConnectionError)."


def test_a_database_that_is_away_is_named(given: Given) -> None:
    """And nothing is said of what only it knows."""
    seen = found(given(database_url="postgresql://someone:secret@127.0.0.1:1/none"))
    assert not seen["database"].ok
    assert "secret" not in str(seen)
    assert "beat" not in seen


def test_a_ledger_without_tables_is_named(given: Given, tmp_path: Path) -> None:
    """With the command that makes them; one that is not there at all is not made by looking."""
    none = found(given(database_url=f"sqlite:///{tmp_path / 'there' / 'none.db'}"))["database"]
    assert (none.ok, none.detail.endswith("none.db does not exist."), (tmp_path / "there").exists()) == (False, True, False)
    (tmp_path / "empty.db").touch()
    database = found(given(database_url=f"sqlite:///{tmp_path / 'empty.db'}"))["database"]
    assert (database.ok, "python -m workers prepare" in database.mend) == (False, True)


@pytest.mark.parametrize(
    ("free_mib", "size_mib", "well"), [(300, 1_000, False), (2_000, 100_000, False), (90_000, 100_000, True)]
)
def test_a_disk_that_is_nearly_full_is_named(
    given: Given, monkeypatch: pytest.MonkeyPatch, free_mib: int, size_mib: int, well: bool
) -> None:
    """Near the floor below which nothing is accepted, or fuller than 95 %."""
    usage = SimpleNamespace(free=free_mib << 20, total=size_mib << 20)
    monkeypatch.setattr("workers.doctor.shutil.disk_usage", lambda _: usage)
    disk = found(given())["disk"]
    assert (disk.ok, disk.detail.startswith(f"{free_mib:,} MiB of {size_mib:,} free")) == (well, True)


def test_a_dead_webhook_is_named_and_no_message_is_sent(given: Given) -> None:
    """Discord says 404: it was deleted. One that is there is only looked at."""
    with webhook() as discord:
        discord.answers = [Answer(404, {"code": 10015}), Answer(200, {"id": "1"})]
        dead, well = (found(given(discord_webhook_url=discord.url))["webhook"] for _ in range(2))
        assert [seen.method for seen in discord.seen] == ["GET", "GET"]
    assert (dead.ok, "DISCORD_WEBHOOK_URL" in dead.mend, well.ok) == (False, True, True)
    assert discord.url not in str(dead)
    gone = found(given(discord_webhook_url=discord.url))["webhook"]
    assert (gone.ok, "cannot be reached" in gone.detail) == (False, True)
