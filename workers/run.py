"""How a task carries a job: claim, work, finish. The finish, its follow-up jobs and the state are one transaction."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import msgspec
from loguru import logger
from sqlalchemy import Connection

from jobs.kinds import POLICIES, Kind
from registry.port import RegistryDown
from settings import Settings
from storage import claims, jobs, ledger
from storage.artifacts import MACHINE_FAULTS
from storage.database import FAULTS
from storage.jobs import Job, NewJob
from storage.ledger import Doorbell, Outcome
from telemetry.logs import bound
from workers.lease import Claim, ClaimLost
from workers.room import Room

PATIENT_TIMES = 60  # tries, 5 s apart, before a job gives up on a service that is away or a disk that is full
T = TypeVar("T")
Settle = Callable[[Connection, float], Sequence[NewJob]]


class JobFailed(Exception):
    """The job's own error: it ends as `failed` and is not tried again.

    Args:
        kind: the error's type as clients see it.
        message: one sentence for a person.
        errors: faults as a 422 has them, each with `loc` and `msg`.
    """

    def __init__(self, kind: str, message: str, errors: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.kind, self.message, self.errors = kind, message, list(errors)


class TryLater(Exception):
    """The job cannot be done now; try again in `seconds`, at most `times` in all."""

    def __init__(self, reason: str, seconds: float, times: int) -> None:
        super().__init__(reason)
        self.seconds, self.times = seconds, times


@dataclass(frozen=True, slots=True)
class Done:
    """What a job made: its result, perhaps as a file, and what else its finish records.

    `settle` returns follow-up jobs; `after` is called once all of it is recorded, and may be lost with the process.
    """

    result: object
    artifact: str | None = None
    settle: Settle | None = None
    after: Callable[[], None] | None = None


Work = Callable[[Room, Job, Claim], Done]
Failed = Callable[[Job, str], Settle]


def time_limit_s(settings: Settings, kind: str) -> float:
    """How long one attempt of a job of this kind may take."""
    return min(POLICIES[cast(Kind, kind)].time_limit_s, settings.job_limit_s)


def answered(room: Room, owner: str, claim: Callable[[Connection], T]) -> Callable[[Connection], T]:
    """A claim that may be tried again: each further time it first gives back what one whose answer was lost may have taken."""
    tries = itertools.count()

    def attempt(tx: Connection) -> T:
        if next(tries):
            ledger.release(tx, owner, room.clock())
        return claim(tx)

    return attempt


def carry(room: Room, job_ids: Sequence[str], task_id: str, work: Work, failed: Failed | None = None) -> None:
    """Claim jobs and do `work` for each.

    What cannot be claimed is left alone: the doorbell was repeated, or the lane is taken.

    Args:
        failed: what else to record, in the same transaction, when a job ends as `failed`.
    """
    owner = room.leases.owner()
    lease_s = room.settings.job_lease_s
    claimed = room.db.run(answered(room, owner, lambda tx: claims.claim(tx, job_ids, owner, task_id, room.clock(), lease_s)))
    if not claimed:
        return
    with room.leases.holding(owner, time_limit_s(room.settings, claimed[0].kind)) as claim:
        for job in claimed:
            with bound(job_id=job.id, request_id=job.request_id):
                _carry_one(room, job, claim, work, failed)


def _carry_one(room: Room, job: Job, claim: Claim, work: Work, failed: Failed | None) -> None:
    try:
        done = work(room, job, claim)
        result = msgspec.json.encode(done.result).decode()
        outcome = Outcome(job.id, "succeeded", result=result, result_artifact=done.artifact)
        if finish(room, claim.owner, job, outcome, done.settle) and done.after:
            done.after()
    except ClaimLost:
        logger.warning("{} {} was cancelled or taken for dead: its result is discarded", job.kind, job.id)
    except JobFailed as fault:
        _fail(room, claim, job, ledger.error_json(fault.kind, fault.message, job.attempt, fault.errors), failed)
    except MemoryError:  # Celery's main process would die of it
        _fail(
            room,
            claim,
            job,
            ledger.error_json("out_of_memory", "The job needs more memory than it may have.", job.attempt),
            failed,
        )
    except Exception as fault:  # noqa: BLE001 - whatever a job raises must not take its worker down
        _again(room, claim, job, _later(room, job, fault), failed)


def _later(room: Room, job: Job, fault: Exception) -> TryLater:
    """When to try again after this fault: what the machine lacks (database, registry, disk) is not the job's own error."""
    if isinstance(fault, TryLater):
        return fault
    name = type(fault).__name__
    if isinstance(fault, (*FAULTS, RegistryDown)):
        return TryLater(f"{name} where the job met another service", 5.0, PATIENT_TIMES)
    if isinstance(fault, OSError) and fault.errno in MACHINE_FAULTS:
        return TryLater(f"{fault.strerror} where the job met the machine", 5.0, PATIENT_TIMES)
    logger.opt(exception=fault).error("{} {} raised {}", job.kind, job.id, name)
    return TryLater(f"{name} in the job", room.settings.retry_delay_seconds, room.settings.task_retries)


def _again(room: Room, claim: Claim, job: Job, later: TryLater, failed: Failed | None) -> None:
    if job.failures < later.times:
        logger.warning("{} {} is tried again in {:.1f} s: {}", job.kind, job.id, later.seconds, later)
        room.db.run(lambda tx: ledger.retry(tx, claim.owner, [job.id], room.clock() + later.seconds))
        return
    message = f"{later}, after {job.failures + 1} tries; the log has the details under this job's id."
    _fail(room, claim, job, ledger.error_json("unexpected", message, job.attempt), failed)


def _fail(room: Room, claim: Claim, job: Job, error: str, failed: Failed | None) -> None:
    settle = failed(job, error) if failed else None
    logger.warning("{} {} failed: {}", job.kind, job.id, error)
    finish(room, claim.owner, job, Outcome(job.id, "failed", error=error), settle)


def finish(room: Room, owner: str, job: Job, outcome: Outcome, settle: Settle | None) -> bool:
    """Record a job's end with all that follows from it, in one transaction; then ring for the follow-ups and tell who waits.

    Returns:
        Whether it was this claim's to record.
    """
    new, waiting, recorded = room.db.run(lambda tx: record(tx, owner, job, outcome, settle, room.clock()))
    if not recorded:
        logger.warning("{} {} no longer belongs to this worker: its result is discarded", job.kind, job.id)
        return False
    room.ended([job], outcome.status)
    room.ring(new)
    if waiting:
        room.bell.ring([(waiting.queue, waiting.kind, waiting.job_id)])  # type: ignore[list-item]
    room.bell.announce([job.id])
    return True


def record(
    tx: Connection, owner: str, job: Job, outcome: Outcome, settle: Settle | None, now: float
) -> tuple[Sequence[NewJob], Doorbell | None, bool]:
    """What `finish` does while every other writer waits.

    Returns:
        The follow-ups to ring for, who waits for the job's lane, and whether it was this claim's to record.
    """
    if not ledger.finish(tx, owner, [outcome], now):
        return (), None, False
    new = jobs.add(tx, list(settle(tx, now)) if settle else [])
    return new, ledger.next_in_lane(tx, job.lane, POLICIES[cast(Kind, job.kind)].queue), True
