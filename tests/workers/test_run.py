"""How a task carries a job: whatever the work does, the ledger says one true thing of it."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable

import pytest
from sqlalchemy.exc import InternalError, OperationalError

from registry.port import RegistryDown
from storage import claims, jobs, ledger
from storage.jobs import Job
from tests.workers.conftest import House
from workers.lease import Claim
from workers.room import Room
from workers.run import Done, JobFailed, carry

Deed = Callable[[], object]


def carried(house: House, deed: Deed) -> Job:
    """A job whose work is this deed, carried once."""
    job_id = house.post("generate", payload=b"{}")
    carry_again(house, job_id, deed)
    return house.job(job_id)


def carry_again(house: House, job_id: str, deed: Deed) -> None:
    def work(_: Room, __: Job, ___: Claim) -> Done:
        return Done(deed())

    carry(house.room, [job_id], "task", work)


def throw(fault: BaseException) -> Deed:
    def deed() -> object:
        raise fault

    return deed


def error(job: Job) -> str:
    return str(json.loads(job.error or "{}").get("type"))


def test_a_job_that_is_done_has_its_result_and_no_input_any_more(house: House) -> None:
    job = carried(house, lambda: {"n": 1})
    assert (job.status, job.result, job.payload, job.attempt) == ("succeeded", '{"n":1}', None, 1)


def test_a_jobs_own_error_is_final_and_keeps_the_input_for_a_retry(house: House) -> None:
    job = carried(house, throw(JobFailed("bad", "It is bad.")))
    assert (job.status, error(job), job.payload, job.failures) == ("failed", "bad", b"{}", 0)


def test_a_job_that_needs_too_much_memory_fails_and_its_worker_lives(house: House) -> None:
    job = carried(house, throw(MemoryError()))
    assert (job.status, error(job)) == ("failed", "out_of_memory")


def test_an_unexpected_error_is_tried_again_and_then_fails(house: House) -> None:
    """TASK_RETRIES is 2: three tries in all; each is a claim, none counts as the death of a worker."""
    job_id = house.post("generate", payload=b"{}")
    for tried in range(3):
        assert (house.job(job_id).status, house.job(job_id).failures) == ("queued", tried)
        carry_again(house, job_id, throw(ZeroDivisionError()))
    job = house.job(job_id)
    assert (job.status, error(job), job.attempt - job.failures) == ("failed", "unexpected", 1)


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system"),
        OSError(errno.EIO, "Input/output error"),
        RegistryDown("MLflow does not answer"),
        OperationalError("SELECT 1", {}, Exception("server closed the connection")),
        InternalError("INSERT", {}, Exception("cannot execute INSERT in a read-only transaction")),
    ],
    ids=["disk full", "disk read-only", "disk failing", "registry away", "database away", "database read-only"],
)
def test_what_the_machine_lacks_is_waited_for_and_not_held_against_the_job(house: House, fault: Exception) -> None:
    """Ten times in a row, more than TASK_RETRIES and MAX_ATTEMPTS: still queued, then done."""
    job_id = house.post("generate", payload=b"{}")
    for _ in range(10):
        carry_again(house, job_id, throw(fault))
        assert house.job(job_id).status == "queued"
    carry_again(house, job_id, lambda: "done")
    assert house.job(job_id).status == "succeeded"


def test_many_retries_do_not_make_one_death_the_last(house: House) -> None:
    """After six patient retries a killed worker costs the job one of its four attempts."""
    job_id = house.post("generate", payload=b"{}")
    for _ in range(6):
        carry_again(house, job_id, throw(RegistryDown("away")))
    with house.db.begin() as tx:
        claims.claim(tx, [job_id], "dies/1", "t", house.clock.now, 30)
        assert ledger.expire(tx, ledger.leases(tx), house.clock.now)[1] == []
    assert house.job(job_id).status == "queued"


def test_a_stale_worker_changes_nothing(house: House) -> None:
    """While it slept its job was taken back and done by another: its own result, and its own error, are discarded."""
    for late in (lambda: "late", throw(ValueError()), throw(JobFailed("late", "Late."))):
        job_id = house.post("generate", payload=b"{}")

        def overslept(job_id: str = job_id, late: Deed = late) -> object:
            another(house, job_id)
            return late()

        carry_again(house, job_id, overslept)
        assert house.job(job_id).result == '"other"'


def another(house: House, job_id: str) -> None:
    with house.db.begin() as tx:
        ledger.expire(tx, ledger.leases(tx), house.clock.now)
    carry_again(house, job_id, lambda: "other")


def test_a_cancelled_job_stays_cancelled_whatever_its_worker_says(house: House) -> None:
    job_id = house.post("generate", payload=b"{}")

    def cancelled_meanwhile() -> object:
        with house.db.begin() as tx:
            jobs.cancel(tx, job_id, house.clock.now)
        return "too late"

    carry_again(house, job_id, cancelled_meanwhile)
    assert (house.job(job_id).status, house.job(job_id).result) == ("cancelled", None)


def test_a_process_that_is_told_to_end_leaves_the_job_for_the_ledger(house: House) -> None:
    """SystemExit passes: the worker's main process gives the job back, and never is it a failure."""
    job_id = house.post("generate", payload=b"{}")
    with pytest.raises(SystemExit):
        carry_again(house, job_id, throw(SystemExit(0)))
    assert house.job(job_id).status == "running"
    with house.db.begin() as tx:
        assert ledger.release(tx, "test@here/", house.clock.now) == 1
    assert (house.job(job_id).status, house.job(job_id).attempt) == ("queued", 0)
