"""Signs of life: kept up while a job runs, noticed when lost, and not for ever."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from storage import claims, jobs, ledger
from tests.architecture.law import ROOT
from tests.workers.conftest import House
from workers.lease import ClaimLost, Leases
from workers.watchdog import LEAKED_S, SILENT_S, Judge


def wait(what: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def running(house: House, leases: Leases) -> tuple[str, str]:
    job_id, owner = house.post("generate", payload=b"{}"), leases.owner()
    with house.db.begin() as tx:
        claims.claim(tx, [job_id], owner, "t", house.clock.now, leases.lease_s)
    return job_id, owner


def lease_of(house: House) -> float:
    with house.db.read() as tx:
        return max(lease.until for lease in ledger.leases(tx))


def test_a_running_job_keeps_its_lease_and_learns_that_it_was_cancelled(house: House) -> None:
    """A quarter of a lease after the cancellation the next `check` raises."""
    leases = Leases(house.db, "w", "", 0.2, house.clock)
    leases.start()
    job_id, owner = running(house, leases)
    with leases.holding(owner) as claim:
        house.clock.now += 100
        wait(lambda: lease_of(house) > house.clock.now)
        claim.check()
        with house.db.begin() as tx:
            jobs.cancel(tx, job_id, house.clock.now)
        wait(lambda: claim._lost.is_set())
        with pytest.raises(ClaimLost):
            claim.check()
    leases.stop()


def test_a_job_that_never_returns_ends_its_process(house: House) -> None:
    """Past its limit, and the little that Celery's own limit gets first, the claim is reported: nothing else would end it."""
    told: list[str] = []
    leases = Leases(house.db, "w", "", 0.2, house.clock, overdue=told.append)
    leases.start()
    _, owner = running(house, leases)
    with leases.holding(owner, limit_s=-5.0):
        wait(lambda: told)
    assert told[0] == owner
    leases.stop()


def test_a_health_check_hears_of_the_process_and_not_of_the_ledger(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`deploy/alive`: not before the first sign of life, then with the ledger away too, and no longer once the thread stands."""
    leases = Leases(house.db, "w", "", 0.2, house.clock, alive_file=tmp_path / "alive")

    def alive(seconds: float) -> bool:
        command: list[Path | str] = [ROOT / "deploy" / "alive", str(seconds)]
        return subprocess.run(command, env=os.environ | {"ALIVE_FILE": str(tmp_path / "alive")}, check=False).returncode == 0

    def gone() -> None:
        raise RuntimeError("the ledger is away")

    assert not alive(30)
    leases.start()
    assert alive(30)
    monkeypatch.setattr(leases, "_beat", gone)
    os.utime(tmp_path / "alive", (0, 0))
    wait(lambda: alive(30))
    leases.stop()
    os.utime(tmp_path / "alive", (0, 0))
    assert not alive(30)


def test_the_thread_outlives_a_database_that_is_away(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a heartbeat meets, the next one is tried: without the thread every job of the process would be lost to it."""
    leases = Leases(house.db, "w", "", 0.2, house.clock)
    leases.start()
    _, owner = running(house, leases)
    away = threading.Event()

    def gone(*_: object) -> set[str]:
        away.set()
        raise RuntimeError("anything")

    with leases.holding(owner):
        with monkeypatch.context() as patched:
            patched.setattr(ledger, "heartbeat", gone)
            assert away.wait(5)
        house.clock.now += 100
        wait(lambda: lease_of(house) > house.clock.now)
    leases.stop()


class Second:
    """A steady clock."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def verdicts(seconds: float, *, turns: bool = False, busy: bool = False, broker: bool = True, delivered: int = 0) -> list[str]:
    """What the watchdog says over so many seconds."""
    clock = Second()
    judge, said = Judge(clock), []
    while clock.now < seconds:
        clock.now += 1
        if turns:
            judge.turned()
        said += [why] if (why := judge.verdict(busy, broker, delivered, 0)) else []
    return said


def test_the_watchdog_ends_a_worker_whose_event_loop_stands_still() -> None:
    """After 25 s, but not while a solo pool works in that very process, nor while there is no broker to hear from."""
    assert verdicts(SILENT_S) == [] and len(verdicts(SILENT_S + 1)) == 1
    assert verdicts(100, turns=True) == verdicts(100, busy=True) == verdicts(100, broker=False) == []


def test_the_watchdog_ends_a_worker_that_takes_no_message_up() -> None:
    """Delivered, known to nobody, for 10 s: a prefetch slot leaked, and the worker is idle for ever."""
    assert verdicts(LEAKED_S, turns=True, delivered=1) == []
    assert len(verdicts(LEAKED_S + 1, turns=True, delivered=1)) == 1


def test_a_worker_that_a_newer_ledger_does_not_want_is_told_once(house: House) -> None:
    """With its next sign of life it learns that the release which shares its ledger has taken something away."""
    told: list[str] = []
    leases = Leases(house.db, "w", "", 0.1, house.clock, outdated=told.append)
    leases.start()
    assert told == []
    with house.db.begin() as tx:
        tx.execute(text("UPDATE compatibility SET oldest = '9000'"))
    wait(lambda: told)
    time.sleep(0.2)
    leases.stop()
    assert len(told) == 1 and "knows revision 9000" in told[0]
