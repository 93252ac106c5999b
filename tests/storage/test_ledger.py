"""The life of a job in the ledger: claimed once, fenced, taken back, never lost, never ended twice."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from storage import champions, claims, jobs, ledger, predictions
from storage.database import Database
from storage.jobs import Job, NewJob
from storage.ledger import Lease, Outcome
from storage.migrate import migrate
from storage.predictions import Logged
from tests.storage.conftest import NOW

LEASE = 30.0


def accept(db: Database, count: int = 1, queue: str = "predict", **more: object) -> list[str]:
    new = [NewJob.make("predict", "default", queue, NOW + n, 4, payload=b"x", **more) for n in range(count)]
    with db.begin() as tx:
        return [job.id for job in jobs.add(tx, new)]


def claim(db: Database, ids: list[str], owner: str, now: float = NOW) -> list[Job]:
    with db.begin() as tx:
        return claims.claim(tx, ids, owner, "task", now, LEASE)


def finish(db: Database, job_id: str, owner: str, now: float = NOW) -> set[str]:
    with db.begin() as tx:
        return ledger.finish(tx, owner, [Outcome(job_id, "succeeded", result="1")], now)


def read(db: Database, job_id: str) -> Job:
    with db.read() as tx:
        job = jobs.get(tx, job_id)
    assert job is not None
    return job


def silent(tx: Connection, now: float) -> list[Lease]:
    """What an onlooker whose clock agrees with every worker's takes for silent."""
    return [lease for lease in ledger.leases(tx) if lease.until < now]


@pytest.mark.parametrize("count", [1, 70])
def test_what_was_asked_is_logged_for_the_ends_that_are_recorded(db: Database, count: int) -> None:
    """One of the jobs was cancelled meanwhile: neither its end nor what it was asked is kept."""
    cancelled, *ids = accept(db, count + 1)
    claim(db, [cancelled, *ids], "w/1")
    with db.begin() as tx:
        jobs.cancel(tx, cancelled, NOW)
    outcomes = [Outcome(each, "succeeded", result='{"é": 1}') for each in ids] + [Outcome(cancelled, "succeeded")]
    logged = [Logged(each, "default", "1", 3, b"\x00\xff", None, NOW) for each in [*ids, cancelled]]
    with db.singly() as tx:
        assert ledger.finish(tx, "w/1", outcomes, NOW + 1, logged) == set(ids)
    with db.read() as tx:
        assert predictions.get_many(tx, [*ids, cancelled]) == {each.job_id: each for each in logged[:-1]}
    ended = read(db, ids[-1])
    assert (ended.status, ended.result, ended.finished_at, ended.payload) == ("succeeded", '{"é": 1}', NOW + 1, None)
    assert read(db, cancelled).status == "cancelled"


def test_what_was_asked_in_a_file_is_logged_with_its_sample(db: Database) -> None:
    """Beside one whose rows are in the ledger: nothing of an entry is left out."""
    ids = accept(db, 2)
    claim(db, ids, "w/1")
    asked = [
        Logged(ids[0], "default", "1", 9, None, "bodies/a.arrow", NOW, b"some"),
        Logged(ids[1], "default", "1", 1, b"x", None, NOW),
    ]
    with db.singly() as tx:
        ledger.finish(tx, "w/1", [Outcome(each, "succeeded") for each in ids], NOW, asked)
    with db.read() as tx:
        assert predictions.recent(tx, "default", 100) == asked[::-1]


def test_an_accepted_job_is_queued_and_a_stranger_is_unknown(db: Database) -> None:
    (job_id,) = accept(db)
    assert read(db, job_id).status == "queued"
    with db.read() as tx:
        assert jobs.get(tx, "0b5c9e0e-0000-4000-8000-000000000000") is None


def test_a_claim_takes_a_job_once_and_a_repeated_doorbell_finds_nothing(db: Database) -> None:
    (job_id,) = accept(db)
    (taken,) = claim(db, [job_id], "a")
    assert (taken.status, taken.attempt, taken.owner, taken.task_id) == ("running", 1, "a", "task")
    assert claim(db, [job_id], "b") == []


def test_workers_that_claim_at_once_share_the_jobs_without_overlap(db: Database) -> None:
    ids = accept(db, 40)
    with ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(lambda n: [job.id for job in claim(db, ids, f"w{n}")], range(4)))
    assert sorted(job_id for share in shares for job_id in share) == sorted(ids)


def test_a_finish_is_recorded_once(db: Database) -> None:
    (job_id,) = accept(db)
    claim(db, [job_id], "a")
    assert finish(db, job_id, "a", NOW + 1) == {job_id}
    assert finish(db, job_id, "a", NOW + 2) == set()
    assert (read(db, job_id).status, read(db, job_id).finished_at, read(db, job_id).payload) == ("succeeded", NOW + 1, None)


def test_a_worker_taken_for_dead_is_fenced_off_when_it_comes_back(db: Database) -> None:
    (job_id,) = accept(db)
    claim(db, [job_id], "slow")
    with db.begin() as tx:
        (again,), dead = ledger.expire(tx, silent(tx, NOW + LEASE + 1), NOW + LEASE + 1)
    assert (again.queue, again.job_id, dead) == ("quarantine", job_id, [])
    claim(db, [job_id], "fresh", NOW + LEASE + 2)
    assert finish(db, job_id, "slow") == set()
    assert finish(db, job_id, "fresh") == {job_id}
    assert read(db, job_id).attempt == 2


def test_a_heartbeat_keeps_the_lease_and_tells_a_lost_claim(db: Database) -> None:
    kept, lost = accept(db, 2)
    claim(db, [kept], "a")
    claim(db, [lost], "b")
    with db.begin() as tx:
        jobs.cancel(tx, lost, NOW)
        assert ledger.heartbeat(tx, ["a", "b"], NOW + 20, LEASE) == {"a"}
        assert ledger.expire(tx, silent(tx, NOW + LEASE + 1), NOW + LEASE + 1) == ([], [])


def test_a_job_that_loses_its_worker_on_every_attempt_is_dead_and_says_so(db: Database) -> None:
    """An error before that is an attempt as well, but no death."""
    (job_id,) = accept(db)
    claim(db, [job_id], "w1")
    with db.begin() as tx:
        ledger.retry(tx, "w1", [job_id], NOW)
    now = NOW
    for attempt in range(2, 6):
        (job,) = claim(db, [job_id], f"w{attempt}", now)
        assert job.attempt == attempt
        now += LEASE + 1
        with db.begin() as tx:
            _, dead = ledger.expire(tx, silent(tx, now), now)
    job = read(db, job_id)
    assert ([each.id for each in dead], job.status) == ([job_id], "dead")
    error = json.loads(job.error or "")
    assert (error["type"], error["attempts"]) == ("worker_lost", 5) and "on each of 4 attempts" in error["message"]
    assert claim(db, [job_id], "late") == []


def test_a_soft_shutdown_gives_the_job_back_and_refunds_the_attempt(db: Database) -> None:
    """Its doorbell is due at once: the one that rang for it is spent."""
    mine, other = accept(db, 2)
    claim(db, [mine], "general@host/1/x")
    claim(db, [other], "general@host/2/x")
    with db.begin() as tx:
        assert ledger.release(tx, "general@host/1/", NOW) == 1
        assert [bell.job_id for bell in ledger.due(tx, NOW, 10, "predict")] == [mine]
    assert (read(db, mine).status, read(db, mine).attempt) == ("queued", 0)
    assert read(db, other).status == "running"


def test_a_retry_counts_as_a_failure_and_is_due_at_its_time(db: Database) -> None:
    (job_id,) = accept(db)
    claim(db, [job_id], "a")
    with db.begin() as tx:
        ledger.retry(tx, "a", [job_id], NOW + 7)
        assert ledger.due(tx, NOW + 6, 10, "predict") == []
        assert [bell.job_id for bell in ledger.due(tx, NOW + 7, 10, "predict")] == [job_id]
    assert (read(db, job_id).failures, read(db, job_id).attempt) == (1, 1)


def test_jobs_of_one_lane_run_one_at_a_time_in_their_order(db: Database) -> None:
    first, second = accept(db, 2, lane="check:default")
    assert [job.id for job in claim(db, [first], "a")] == [first]
    assert claim(db, [second], "b") == []
    finish(db, first, "a")
    with db.begin() as tx:
        bell = ledger.next_in_lane(tx, "check:default", "predict")
    assert bell is not None and bell.job_id == second
    assert [job.id for job in claim(db, [second], "b")] == [second]


def test_two_workers_never_hold_one_lane(db: Database) -> None:
    ids = accept(db, 8, lane="train:default")
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda pair: claim(db, [pair[1]], f"w{pair[0]}"), enumerate(ids)))
    assert sum(len(jobs) for jobs in taken) == 1


def test_a_dedupe_key_makes_one_job_of_many_inserts(db: Database) -> None:
    def insert(n: int) -> int:
        with db.begin() as tx:
            return len(jobs.add(tx, [NewJob.make("check", "default", "checks", NOW + n, 4, dedupe_key="check:default:1")]))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(insert, range(8))) == 1


@pytest.mark.parametrize("claimed", [False, True], ids=["queued", "running"])
def test_a_cancelled_job_stays_cancelled(db: Database, claimed: bool) -> None:
    (job_id,) = accept(db)
    if claimed:
        claim(db, [job_id], "a")
    with db.begin() as tx:
        assert [jobs.cancel(tx, job_id, NOW), jobs.cancel(tx, job_id, NOW)] == ["cancelled", "terminal"]
        assert jobs.cancel(tx, "0b5c9e0e-0000-4000-8000-000000000000", NOW) == "unknown"
    assert claim(db, [job_id], "b") == [] and finish(db, job_id, "a") == set()
    assert read(db, job_id).status == "cancelled"


def test_a_prediction_waits_for_a_champion_and_is_woken_by_it(db: Database) -> None:
    (job_id,) = accept(db)
    with db.begin() as tx:
        ledger.wait_for_champion(tx, [job_id], "t", NOW, 60)
        assert ledger.fail_hopeless(tx, NOW + 59) == []
        assert ledger.due(tx, NOW + ledger.RING_AGAIN_S - 1, 10, "predict") == []
        assert [bell.job_id for bell in ledger.due(tx, NOW + ledger.RING_AGAIN_S, 10, "predict")] == [job_id]
        jobs.wake_waiting(tx, "default", NOW + 59)
        assert [bell.job_id for bell in ledger.due(tx, NOW + 59, 10, "predict")] == [job_id]
        assert ledger.fail_hopeless(tx, NOW + 61) == []


def test_a_prediction_that_waits_in_vain_fails_with_no_model(db: Database) -> None:
    (job_id,) = accept(db)
    with db.begin() as tx:
        ledger.wait_for_champion(tx, [job_id], "t", NOW, 60)
        assert ledger.fail_hopeless(tx, NOW + 61) == [job_id]
    job = read(db, job_id)
    assert job.status == "failed" and json.loads(job.error or "")["type"] == "no_model"


def test_a_prediction_that_waits_in_vain_is_told_why_the_training_failed(db: Database) -> None:
    (job_id,) = accept(db)
    with db.begin() as tx:
        champions.record(tx, "default", "reject", None, None, "The training failed: only one class in 2,000 rows.", NOW)
        ledger.wait_for_champion(tx, [job_id], "t", NOW, 60)
        ledger.fail_hopeless(tx, NOW + 61)
    assert "only one class in 2,000 rows" in (read(db, job_id).error or "")


def test_a_job_whose_doorbell_was_lost_is_due_again_until_it_is_claimed(db: Database) -> None:
    (job_id,) = accept(db)
    with db.begin() as tx:
        assert ledger.due(tx, NOW, 10, "predict") == []
        assert [bell.job_id for bell in ledger.due(tx, NOW + jobs.RING_GRACE_S, 10, "predict")] == [job_id]
        ledger.rung(tx, [job_id], NOW + 4)
        assert ledger.due(tx, NOW + 5, 10, "predict") == []
        assert [bell.job_id for bell in ledger.due(tx, NOW + 4 + ledger.RING_AGAIN_S, 10, "predict")] == [job_id]
    claim(db, [job_id], "a")
    with db.begin() as tx:
        assert ledger.due(tx, NOW + 100, 10, "predict") == [] and ledger.all_queued(tx, 10, "predict") == []


def test_pages_hold_every_job_once_while_new_ones_arrive(db: Database) -> None:
    ids = accept(db, 7)
    seen: list[str] = []
    cursor = None
    while True:
        with db.read() as tx:
            page = jobs.listed(tx, "predict", None, "default", 3, cursor)
        seen += [job.id for job in page.entries]
        cursor = page.next_cursor
        if cursor is None:
            break
        with db.begin() as tx:
            jobs.add(tx, [NewJob.make("predict", "default", "predict", NOW + 100, 4)])
    assert seen == sorted(ids, reverse=True)


def test_what_is_open_is_found_without_a_walk_through_what_has_ended(tmp_path: Path) -> None:
    """Each check asks for it; by the jobs' ids SQLite took longer the more jobs there had ever been, 0.6 s a million."""
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    migrate(database)
    with database.read() as tx:
        for sql in (ledger._OLDEST_RUNNING, ledger._OLDEST_QUEUED, jobs._OPEN):
            plan = tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", ("x",) * sql.count("?")).all()
            used = [row[3] for row in plan if "jobs" in row[3]]
            assert used and all(re.search("USING INDEX ix_jobs_(running|queued|line)", step) for step in used), used
    database.close()


def test_the_oldest_open_job_of_a_model_is_found_whether_it_waits_or_runs(db: Database) -> None:
    old, young, other = (NewJob.make("train", model, "train", NOW, 4) for model in ("default", "default", "other"))
    with db.begin() as tx:
        jobs.add(tx, [old, young, other])
        assert jobs.open_job(tx, "train", "default") == old.id
        claims.claim(tx, [old.id], "w/1", "t", NOW, 30)
        assert jobs.open_job(tx, "train", "default") == old.id
        ledger.finish(tx, "w/1", [Outcome(old.id, "succeeded", result="1")], NOW)
        assert jobs.open_job(tx, "train", "default") == young.id
        assert jobs.open_job(tx, "check", "default") is None


@pytest.mark.parametrize(
    ("kind", "status"),
    [(None, "dead"), ("notify", "failed"), ("train", None), (None, "queued"), (None, "running"), ("train", "running")],
)
def test_few_jobs_among_many_are_found_by_an_index(db: Database, kind: str | None, status: str | None) -> None:
    """SQLite takes a partial index only where the query says its very words; without, it walks through all that has ended."""
    if not db.sqlite:
        pytest.skip("PostgreSQL knows what follows from a parameter")
    said: list[tuple[str, Any]] = []
    with db.read() as tx:
        event.listen(tx, "before_cursor_execute", lambda *given: said.append((given[2], given[3])))
        jobs.listed(tx, kind, status, None, 20, None)
        statement, values = said[-1]
        plan = [row[3] for row in tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert any("ix_jobs_" in step for step in plan), plan
