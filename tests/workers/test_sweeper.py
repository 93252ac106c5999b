"""The sweeper on a real ledger and a real broker, with the clocks in the test's hand."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis
from sqlalchemy.exc import OperationalError

from jobs.kinds import QUEUES
from storage import claims, idempotency, jobs, ledger, uploads
from storage.idempotency import Key
from storage.jobs import NewJob
from storage.ledger import Outcome
from tests.workers.broker import own_broker
from tests.workers.conftest import Clock, House
from workers.aliases import Aliases
from workers.old_versions import OldVersions
from workers.sweeper import LONG, TIDY_EVERY_S, Sweeper, _jobs_in, run
from workers.vigil import EVEN_S, Vigil

LEASE = 30.0
YEAR = 365 * 86_400.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with own_broker() as found:
        yield found


class Night:
    """A house whose sweeper reaches a broker; `pass_` lets seconds go by on both clocks, one sweep a second."""

    def __init__(self, house: House, url: str) -> None:
        self.house, self.steady = house, Clock(1_000.0)
        self.redis = redis.Redis.from_url(url)
        self.redis.flushall()
        settings = house.settings.model_copy(update={"redis_url": url})
        self.sweeper = Sweeper(replace(house.room, settings=settings), steady=self.steady)
        self.sweeper.sweep()

    def pass_(self, seconds: int, alive: str = "") -> None:
        for _ in range(seconds):
            self.house.clock.now += 1
            self.steady.now += 1
            if alive:
                with self.house.db.begin() as tx:
                    ledger.heartbeat(tx, [alive], self.house.clock.now, LEASE)
            self.sweeper.sweep()

    def rung(self, queue: str) -> list[list[str]]:
        messages: list[bytes] = self.redis.lrange(queue, 0, -1)  # type: ignore[assignment]
        return [list(_jobs_in(message)) for message in messages]

    def accept(self, count: int = 1, kind: str = "predict", queue: str = "predict") -> list[str]:
        new = [NewJob.make(kind, "default", queue, self.house.clock.now, 4, payload=b"{}") for _ in range(count)]
        with self.house.db.begin() as tx:
            return [job.id for job in jobs.add(tx, new)]

    def claim(self, ids: list[str], owner: str) -> None:
        with self.house.db.begin() as tx:
            assert len(claims.claim(tx, ids, owner, "t", self.house.clock.now, LEASE)) == len(ids)


@pytest.fixture
def night(house: House, url: str) -> Night:
    return Night(house, url)


def test_a_lost_doorbell_is_rung_again_but_never_twice_into_one_queue(night: Night) -> None:
    """A job that nobody rang for is rung after its grace, and while that bell lies in the queue it stays the only one."""
    (job_id,) = night.accept()
    night.pass_(2)
    assert night.rung("predict") == []
    night.pass_(20)
    assert night.rung("predict") == [[job_id]]


def test_a_broker_without_memory_is_told_of_every_job_at_once(night: Night) -> None:
    """All keys are gone, canary included: the next sweep rings for all that is queued, due or not."""
    ids = night.accept(5) + night.accept(2, "generate", "bulk")
    night.redis.flushall()
    night.pass_(1)
    assert night.rung("predict") == [ids[:5]]
    assert sorted(night.rung("bulk")) == sorted([each] for each in ids[5:])


def test_a_long_queue_is_left_alone(night: Night) -> None:
    """A queue with thousands of messages has enough to ring: the sweeper adds none, and the other queues get theirs."""
    night.redis.lpush("predict", *(b"x" for _ in range(LONG + 1)))
    night.accept(3)
    (other,) = night.accept(1, "generate", "bulk")
    night.pass_(10)
    assert night.redis.llen("predict") == LONG + 1
    assert night.rung("bulk") == [[other]]


def test_junk_in_a_queue_hides_no_job(night: Night) -> None:
    """Messages that are none name no jobs, and stop no sweep."""
    night.redis.lpush("predict", b"junk", b"{}", b'{"body":"####"}', b'{"body":"W10="}', b'{"body":null}')
    (job_id,) = night.accept()
    night.pass_(5)
    assert [job_id] in night.rung("predict")


def test_jobs_of_a_silent_worker_go_on_alone_in_quarantine(night: Night) -> None:
    """A lease after the last sign of life each prediction of a group is rung by itself; the living keep theirs."""
    ids = night.accept(3)
    (kept,) = night.accept()
    night.claim(ids, "dead/1")
    night.claim([kept], "alive/1")
    night.pass_(28, alive="alive/1")
    assert night.rung("quarantine") == []
    night.pass_(4, alive="alive/1")
    assert sorted(night.rung("quarantine")) == sorted([each] for each in ids)
    assert night.house.job(kept).owner == "alive/1"


@pytest.mark.parametrize("step", [600.0, -600.0], ids=["forwards", "backwards"])
def test_a_clock_that_is_set_by_ten_minutes_takes_no_job_from_the_living_and_keeps_none_for_the_dead(
    night: Night, step: float
) -> None:
    """Leases are held against the steady clock; a doorbell that was due is rung soon, whatever the new time of day."""
    lived, died, lost = night.accept(3)
    night.claim([lived], "alive/1")
    night.claim([died], "dead/1")
    night.pass_(1, alive="alive/1")
    night.house.clock.now += step
    night.pass_(33, alive="alive/1")
    assert (night.house.job(lived).owner, night.house.job(died).queue) == ("alive/1", "quarantine")
    assert [lost] in night.rung("predict")


def test_a_job_that_is_accepted_after_the_clock_was_put_back_by_a_year_is_rung_in_its_time(night: Night) -> None:
    """Its id was made by a process that has made ids of next year: the lost doorbell is rung after its grace all the same."""
    night.house.clock.now += YEAR
    night.accept()
    night.pass_(1)
    night.house.clock.now -= YEAR
    night.pass_(1)
    (job_id,) = night.accept()
    night.pass_(5)
    assert [job_id] in night.rung("predict")


def test_a_clock_that_is_put_back_while_the_ledger_is_away_holds_up_no_job(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep that notices it fails; the next one rings all the same for what was due by the old time."""
    night.house.clock.now += YEAR
    night.pass_(1)
    (job_id,) = night.accept()
    night.house.clock.now -= YEAR

    def away(_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("server closed the connection"))

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "leases", away)
        with pytest.raises(OperationalError):
            night.pass_(1)
    night.pass_(2)
    assert [job_id] in night.rung("predict")


def test_a_clock_that_is_set_to_next_year_costs_no_result_and_no_idempotency_key(night: Night) -> None:
    """What is kept for RETENTION_DAYS goes only by a clock that has run evenly for a quarter of an hour."""
    (job_id,) = night.accept()
    night.claim([job_id], "alive/1")
    with night.house.db.begin() as tx:
        ledger.finish(tx, "alive/1", [Outcome(job_id, "succeeded", result="1")], night.house.clock.now)
        idempotency.add(tx, Key("token", "/predict", "key", "hash", job_id, night.house.clock.now))
    night.steady.now += 2 * EVEN_S
    night.house.clock.now += 2 * EVEN_S

    def kept() -> tuple[bool, bool]:
        night.pass_(1)
        night.sweeper.prune()
        with night.house.db.read() as tx:
            return jobs.get(tx, job_id) is not None, idempotency.find(tx, "token", "/predict", "key") is not None

    night.house.clock.now += YEAR
    assert kept() == (True, True)
    night.steady.now += EVEN_S
    night.house.clock.now += EVEN_S
    assert kept() == (False, False)


def test_a_table_goes_an_hour_after_its_job_has_succeeded(night: Night) -> None:
    """And no sooner; what was made of it stays."""
    artifacts = night.house.room.artifacts
    (job_id,) = night.accept(1, "ingest", "bulk")
    for name in ("table.csv", "rows.arrow"):
        artifacts.write(f"bodies/{job_id}/{name}", [b"x"])
    night.claim([job_id], "alive/1")
    with night.house.db.begin() as tx:
        ledger.finish(tx, "alive/1", [Outcome(job_id, "succeeded", result="1")], night.house.clock.now)

    def lying(seconds: float) -> set[str]:
        night.steady.now += seconds
        night.house.clock.now += seconds
        night.pass_(1)
        night.sweeper.prune()
        return {path.name for path in artifacts.path(f"bodies/{job_id}").iterdir()}

    assert lying(uploads.KEPT_S - 10) == {"table.csv", "rows.arrow"}
    assert lying(TIDY_EVERY_S) == {"rows.arrow"}


def test_a_clock_that_is_set_fails_no_prediction_that_waits_for_a_champion(night: Night) -> None:
    """Ten minutes forwards: the wait begins anew, and ends in its time."""
    (job_id,) = night.accept()
    with night.house.db.begin() as tx:
        ledger.wait_for_champion(tx, [job_id], "t", night.house.clock.now, 60)
    night.house.clock.now += 600
    night.pass_(50)
    assert night.house.job(job_id).status == "queued"
    night.pass_(15)
    assert night.house.job(job_id).status == "failed"


def test_a_dead_training_is_told_of_and_begins_a_cool_down(night: Night) -> None:
    """What took its worker down on every attempt ends as dead; people are told, and no check asks for the same again."""
    (job_id,) = night.accept(1, "train", "train")
    for attempt in range(4):
        night.claim([job_id], f"w/{attempt}")
        night.pass_(32)
    assert night.house.job(job_id).status == "dead"
    assert night.house.decisions() == ["reject"]
    assert ("A job of default is dead", "told") in night.house.told()
    assert night.house.model().last_trained_at is not None


def test_without_a_broker_jobs_are_still_taken_back(house: House) -> None:
    """The ledger's part of a sweep needs no broker."""
    sweeper = Sweeper(house.room, steady=Clock(0.0))
    job_id = house.post("predict", payload=b"x")
    with house.db.begin() as tx:
        claims.claim(tx, [job_id], "dead/1", "t", house.clock.now, LEASE)
    for second in range(32):
        sweeper.vigil._steady = Clock(float(second))
        sweeper.sweep()
    assert (house.job(job_id).status, house.job(job_id).queue) == ("queued", "quarantine")


def test_after_the_ledger_was_away_every_lease_is_as_good_as_new() -> None:
    """Nobody could write a sign of life meanwhile, so nobody is taken for dead before a whole lease has gone by again."""
    clock = Clock(0.0)
    vigil, lease = Vigil(LEASE, clock), ledger.Lease("w", 5.0)
    assert vigil.silent([lease]) == []
    clock.now = 40.0
    assert vigil.silent([lease]) == []
    for second in range(41, 70):
        clock.now = float(second)
        assert vigil.silent([lease]) == []
    clock.now = 70.0
    assert vigil.silent([lease]) == [lease]


def test_versions_are_pruned_beside_the_sweeps_where_the_aliases_are_followed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread for the registry, whose client is for one, and not the one that no job may wait for."""
    threads: dict[str, set[str]] = {"follow": set(), "prune": set(), "sweep": set()}
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for owner, name in ((Aliases, "follow"), (OldVersions, "prune"), (Sweeper, "sweep")):
        monkeypatch.setattr(owner, name, lambda _, name=name: threads[name].add(threading.current_thread().name))
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    try:
        run(house.room)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert threads == {"follow": {"registry"}, "prune": {"registry"}, "sweep": {threading.main_thread().name}}


def test_every_queue_is_swept() -> None:
    """A queue that the sweeper forgot would lose its jobs with the first lost doorbell."""
    assert set(QUEUES) == {"predict", "bulk", "train", "checks", "notify", "shadow", "quarantine"}
