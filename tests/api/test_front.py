"""Group commit: nobody hears "accepted" before it is true, and a crowd makes big groups."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection

from api.errors import Refused
from api.front import LONG_S, Accepted, Front, Ticket
from api.pace import AT_WORK, MOST_S, Pace
from jobs.bell import Bell
from storage import jobs
from storage.artifacts import Artifacts
from storage.database import FAULTS, Database
from storage.jobs import NewJob
from storage.migrate import migrate
from tests.api.conftest import NOBODY_THERE

SOON_S = 0.3  # long enough for an answer that comes too early to be seen


class Brittle(Database):
    """A ledger whose commits and disk wait for a sign, or fail."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.may_commit, self.may_harden = threading.Event(), threading.Event()
        self.fault: Exception | None = None
        self.hardened = 0

    @contextmanager
    def begin_lax(self) -> Iterator[Connection]:
        with super().begin_lax() as tx:
            yield tx
            self.may_commit.wait(10)
            if self.fault is not None:
                raise self.fault

    def harden(self) -> None:
        self.may_harden.wait(10)
        super().harden()
        self.hardened += 1

    def count(self) -> int:
        with self.read() as tx:
            return jobs.count_queued(tx)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Brittle]:
    made = Brittle(f"sqlite:///{tmp_path / 'ledger.db'}")
    migrate(made)
    yield made
    made.may_commit.set()
    made.may_harden.set()
    made.close()


@pytest.fixture
def front(ledger: Brittle, tmp_path: Path) -> Iterator[Front]:
    bell = Bell(NOBODY_THERE, on_fault=lambda _: None)
    made = Front(ledger, bell, Pace(), Artifacts(tmp_path), 100)
    yield made
    ledger.may_commit.set()
    ledger.may_harden.set()
    made.close()
    bell.close()


def new_job() -> NewJob:
    return NewJob.make("predict", "default", "predict", time.time(), 4)


def handed_in(front: Front, waits: bool = False) -> tuple[Ticket, threading.Event]:
    told = threading.Event()
    ticket = Ticket(new_job(), None, lambda _: told.set(), waits)
    front.hand_in(ticket)
    return ticket, told


@pytest.mark.parametrize("gate", ["may_commit", "may_harden"])
def test_nobody_is_told_before_the_commit_is_durable(front: Front, ledger: Brittle, gate: str) -> None:
    """While the transaction, or the disk, hangs there is no answer; afterwards there is, and the job is in the ledger."""
    for each in ("may_commit", "may_harden"):
        if each != gate:
            getattr(ledger, each).set()
    ticket, told = handed_in(front)
    assert not told.wait(SOON_S)
    assert ledger.count() == (1 if gate == "may_harden" else 0)
    getattr(ledger, gate).set()
    assert told.wait(10)
    assert ticket.outcome == Accepted(ticket.new.id, replayed=False)
    assert (ledger.count(), ledger.hardened) == (1, 1)


@pytest.mark.parametrize("waits", [False, True])
def test_a_commit_that_fails_accepts_nobody(front: Front, ledger: Brittle, waits: bool) -> None:
    """Every request of the group gets the fault, and no job exists."""
    ledger.fault = FAULTS[-1]("the database is gone")
    tickets = [handed_in(front, waits) for _ in range(3)]
    ledger.may_commit.set()
    for ticket, told in tickets:
        assert told.wait(10)
        assert ticket.outcome is ledger.fault
    assert ledger.count() == 0


def test_a_ledger_that_another_keeps_locked_refuses_all_who_wait_at_once(tmp_path: Path) -> None:
    """Whoever came behind the group that gave up hears with it, instead of waiting as long again; then all is as before."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger, other = Database(url, busy_s=2 * LONG_S), Database(url)
    migrate(ledger)
    bell = Bell(NOBODY_THERE, on_fault=lambda _: None)
    front = Front(ledger, bell, Pace(), Artifacts(tmp_path), 100)
    with other.begin():
        first, told = handed_in(front)
        time.sleep(LONG_S)
        second, also_told = handed_in(front)
        assert told.wait(10)
        assert also_told.wait(LONG_S / 2)
    assert isinstance(first.outcome, FAULTS) and isinstance(second.outcome, FAULTS)
    assert not front.accept(new_job()).replayed
    front.close()
    bell.close()
    ledger.close()
    other.close()


def test_a_disk_that_fails_refuses_whom_it_was_needed_for(front: Front, ledger: Brittle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for the job's end has been told nothing, and hears of the end; the other gets the fault instead of a 202."""
    fault = OSError(5, "no more disk")

    def fail(_: object) -> None:
        raise fault

    monkeypatch.setattr(Brittle, "harden", fail)
    (waiting, told), (other, also_told) = handed_in(front, waits=True), handed_in(front)
    ledger.may_commit.set()
    assert told.wait(10) and also_told.wait(10)
    assert (waiting.outcome, other.outcome) == (Accepted(waiting.new.id, replayed=False), fault)


def test_who_waits_for_the_end_costs_the_disk_nothing(front: Front, ledger: Brittle) -> None:
    """A group of waiting clients only is not hardened, until one of them is owed a 202."""
    ledger.may_commit.set()
    ledger.may_harden.set()
    _, told = handed_in(front, waits=True)
    assert told.wait(10)
    assert ledger.hardened == 0
    front.harden()
    front.harden()
    assert ledger.hardened == 1


def test_no_room_is_said_and_an_old_look_is_not_believed(front: Front, ledger: Brittle) -> None:
    """`has_room` needs a fresh look; with too many waiting `room` refuses."""
    assert not front.has_room()
    front.room()
    assert front.has_room()
    with ledger.begin() as tx:
        jobs.add(tx, [new_job() for _ in range(100)])
    front.look()
    assert not front.has_room()
    with pytest.raises(Refused) as refused:
        front.room()
    assert refused.value.status == 429


def held_s(pace: Pace) -> float:
    began = time.monotonic()
    pace.hold()
    return time.monotonic() - began


def test_a_lone_client_waits_for_nothing_and_a_crowd_at_most_the_bound() -> None:
    """Held only while two messages are unfinished; one that ends lets the next go at once."""
    pace = Pace()
    assert min(held_s(pace) for _ in range(5)) < MOST_S / 2
    for n in range(AT_WORK):
        pace.rung([f"first-{n}", f"last-{n}"])
    assert MOST_S * 0.9 < held_s(pace) < MOST_S + 0.5
    pace.ended(["first-0"])
    assert held_s(pace) > MOST_S * 0.9
    threading.Timer(MOST_S / 5, pace.ended, [["last-0"]]).start()
    pace.hold()
    assert min(held_s(pace) for _ in range(5)) < MOST_S / 2


def test_messages_of_a_dead_worker_are_forgotten() -> None:
    """After a second they hold nobody up any more."""
    now = 0.0
    pace = Pace(lambda: now)
    for n in range(AT_WORK):
        pace.rung([str(n)])
    now = 1.1
    assert min(held_s(pace) for _ in range(5)) < MOST_S / 2
