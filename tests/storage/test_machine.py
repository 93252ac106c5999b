"""The ledger under workers, sweepers and clients that do anything in any order: what must hold holds after every step."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Connection, delete, select

from jobs.kinds import QUEUES
from storage import claims, jobs, ledger
from storage.database import Database
from storage.jobs import TERMINAL, Job, NewJob
from storage.ledger import Outcome
from storage.schema import jobs as table
from tests import stateful
from tests.storage.conftest import NOW

LEASE = 30.0
WORKERS = ("w1", "w2", "w3")
RECENT = st.integers(0, 4)  # which claim, counted from the newest: older ones seldom hold anything
SOME = st.lists(st.integers(0, 11), min_size=1, max_size=6)


def held(tx: Connection, owner: str) -> set[str]:
    """The jobs that this claim still owns."""
    return set(tx.execute(select(table.c.id).where(table.c.owner == owner, table.c.status == "running")).scalars())


class Life(RuleBasedStateMachine):
    """Jobs, claims of three workers, two sweepers and clients; `ends` and `winners` are what was seen of the past."""

    db: Database
    ways_to_end: ClassVar[set[str]]  # seen in any of the runs

    @initialize()
    def begin(self) -> None:
        with self.db.begin() as tx:
            tx.execute(delete(table))
        self.now = NOW
        self.ids: list[str] = []
        self.owners: list[str] = []
        self.ends: dict[str, Job] = {}
        self.winners: dict[str, str] = {}
        self.made = 0
        self.accept(4, 1, None)  # one death ends these
        self.accept(4, 3, None)

    def pick(self, numbers: Sequence[int]) -> list[str]:
        return sorted({self.ids[n % len(self.ids)] for n in numbers}) if self.ids else []

    def owner(self, n: int) -> str:
        return self.owners[-1 - n % len(self.owners)]

    def worker(self, n: int) -> str:
        return self.owner(n).partition("/")[0]

    def fresh_owner(self, worker: str) -> str:
        self.made += 1
        self.owners.append(f"{worker}/{self.made}")
        return self.owners[-1]

    # ---- clients

    @rule(count=st.integers(1, 3), most_attempts=st.integers(1, 3), lane=st.sampled_from([None, None, "train:default"]))
    def accept(self, count: int, most_attempts: int, lane: str | None) -> None:
        new = [NewJob.make("predict", "default", "predict", self.now, most_attempts, lane=lane) for _ in range(count)]
        with self.db.begin() as tx:
            self.ids += [job.id for job in jobs.add(tx, new)]

    @rule(numbers=SOME)
    def cancel(self, numbers: list[int]) -> None:
        with self.db.begin() as tx:
            for job_id in self.pick(numbers)[:1]:
                jobs.cancel(tx, job_id, self.now)

    # ---- workers

    def claim(self, ids: Sequence[str], owner: str) -> set[str]:
        with self.db.begin() as tx:
            return {job.id for job in claims.claim(tx, ids, owner, "task", self.now, LEASE)}

    @rule(numbers=SOME, worker=st.sampled_from(WORKERS))
    def a_doorbell(self, numbers: list[int], worker: str) -> None:
        self.claim(self.pick(numbers), self.fresh_owner(worker))

    @rule(numbers=SOME)
    def one_doorbell_heard_by_all_at_once(self, numbers: list[int]) -> None:
        owners = [self.fresh_owner(worker) for worker in WORKERS]
        with ThreadPoolExecutor(len(owners)) as pool:
            taken = list(pool.map(lambda owner: self.claim(self.pick(numbers), owner), owners))
        assert all(not one & other for one, other in combinations(taken, 2))

    @precondition(lambda self: self.owners)
    @rule(n=RECENT)
    def a_sign_of_life(self, n: int) -> None:
        with self.db.begin() as tx:
            kept = ledger.heartbeat(tx, [self.owner(n)], self.now, LEASE)
            assert kept == ({self.owner(n)} if held(tx, self.owner(n)) else set())

    @precondition(lambda self: self.owners)
    @rule(n=RECENT, numbers=SOME, status=st.sampled_from(["succeeded", "failed"]))
    def a_finish(self, n: int, numbers: list[int], status: Any) -> None:
        with self.db.begin() as tx:
            holders = sorted({lease.owner for lease in ledger.leases(tx)}) or self.owners
            mine = held(tx, holders[n % len(holders)])
        self.finish(holders[n % len(holders)], sorted(mine.union(self.pick(numbers))), status)

    @precondition(lambda self: self.owners)
    @rule(numbers=SOME)
    def all_claims_finish_at_once(self, numbers: list[int]) -> None:
        owners, ids = self.owners[-4:], self.pick(numbers)
        with ThreadPoolExecutor(len(owners)) as pool:
            list(pool.map(lambda owner: self.finish(owner, ids, "succeeded"), owners))

    def finish(self, owner: str, ids: Sequence[str], status: Any) -> None:
        def record(tx: Any) -> set[str]:
            return ledger.finish(tx, owner, [Outcome(each, status, result='"x"') for each in ids], self.now)

        for job_id in self.db.run(record):
            assert job_id not in self.winners, "two claims have recorded the end of one job"
            self.winners[job_id] = owner

    @precondition(lambda self: self.owners)
    @rule(n=RECENT, numbers=SOME)
    def an_error_is_tried_again(self, n: int, numbers: list[int]) -> None:
        with self.db.begin() as tx:
            ledger.retry(tx, self.owner(n), self.pick(numbers), self.now + 7)

    @precondition(lambda self: self.owners)
    @rule(n=RECENT)
    def a_soft_shutdown(self, n: int) -> None:
        with self.db.begin() as tx:
            ledger.release(tx, f"{self.worker(n)}/", self.now)

    # ---- sweepers, time

    @precondition(lambda self: self.owners)
    @rule(n=RECENT, twice=st.booleans())
    def a_worker_falls_silent(self, n: int, twice: bool) -> None:
        with self.db.read() as tx:
            silent = [lease for lease in ledger.leases(tx) if lease.owner.startswith(f"{self.worker(n)}/")]

        def sweep(_: int) -> list[str]:
            with self.db.begin() as tx:
                again, dead = ledger.expire(tx, silent, self.now)
                return [bell.job_id for bell in again] + [job.id for job in dead]

        with ThreadPoolExecutor(2) as pool:
            taken = [job_id for each in pool.map(sweep, range(1 + twice)) for job_id in each]
        assert len(taken) == len(set(taken)), "two sweepers took one job back"
        with self.db.read() as tx:
            assert not set(silent) & set(ledger.leases(tx)), "a job was left with its silent worker"

    @rule(numbers=SOME, hopeless=st.booleans())
    def no_champion_yet(self, numbers: list[int], hopeless: bool) -> None:
        with self.db.begin() as tx:
            ledger.wait_for_champion(tx, self.pick(numbers), "task", self.now, 60)
            if hopeless:
                ledger.fail_hopeless(tx, self.now + 61)
            else:
                jobs.wake_waiting(tx, "default", self.now)

    @rule(seconds=st.sampled_from([1.0, 10.0, 600.0, -600.0]))
    def time_passes_or_the_clock_is_set(self, seconds: float) -> None:
        self.now += seconds
        with self.db.begin() as tx:
            ledger.rung(tx, [bell.job_id for queue in QUEUES for bell in ledger.due(tx, self.now, 100, queue)], self.now)
            if abs(seconds) > 60:
                ledger.clock_stepped(tx, self.now, 60)

    # ---- what must hold

    def found(self) -> list[Job]:
        with self.db.read() as tx:
            return list(jobs.get_many(tx, self.ids).values())

    @invariant()
    def no_accepted_job_is_gone(self) -> None:
        assert sorted(job.id for job in self.found()) == sorted(self.ids)

    @invariant()
    def a_terminal_state_never_changes(self) -> None:
        now = {job.id: job for job in self.found() if job.status in TERMINAL}
        assert {job_id: now.get(job_id) for job_id in self.ends} == self.ends
        self.ends = now
        self.ways_to_end.update(job.status for job in now.values())

    @invariant()
    def attempts_never_exceed_the_limit(self) -> None:
        assert all(0 <= job.attempt - job.failures <= job.max_attempts for job in self.found())

    @invariant()
    def a_running_job_has_one_live_lease_and_nothing_else_has_one(self) -> None:
        with self.db.read() as tx:
            rows = tx.execute(select(table.c.status, table.c.owner, table.c.lease_until, table.c.lane)).all()
        assert all((row.lease_until is not None) == (row.status == "running") for row in rows)
        assert all(row.owner is not None for row in rows if row.status == "running")
        lanes = [row.lane for row in rows if row.status == "running" and row.lane]
        assert len(lanes) == len(set(lanes))

    @invariant()
    def the_sweeper_reaches_every_job_that_has_not_ended(self) -> None:
        with self.db.read() as tx:
            due = {bell.job_id for queue in QUEUES for bell in ledger.due(tx, self.now + 1e6, 1_000, queue)}
            leases = {lease.owner for lease in ledger.leases(tx)}
        for job in self.found():
            assert job.status in TERMINAL or (job.id in due if job.status == "queued" else job.owner in leases)


def test_any_order_of_claims_ends_and_losses_keeps_the_ledgers_promises(db: Database) -> None:
    """Accepts, claims, heartbeats, finishes, retries, shutdowns, cancels and sweeps, also several at the same instant."""

    class OnThis(Life):
        pass

    OnThis.db, OnThis.ways_to_end = db, set()
    stateful.run(OnThis, runs=14, steps=30)
    assert OnThis.ways_to_end == TERMINAL, "the runs must have met every way to end"
