"""Predict jobs: many one-row jobs in one claim, one `predict_proba` per model, one finish; and bulk jobs, file in, file out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec
from loguru import logger
from sqlalchemy import Connection

from jobs.kinds import GROUP, PREDICT
from ml.model_file import RefusedModel
from ml.prediction import predict
from ml.rows import unpack
from problems.rows import PackedRows, joined
from registry.port import RegistryDown, UnknownVersion
from storage import claims, ledger
from storage.jobs import Job
from storage.ledger import Outcome
from storage.predictions import Logged
from telemetry.logs import bound
from workers import attempts, bulk, serving
from workers.answers import Answers
from workers.room import Room
from workers.run import answered, carry
from workers.shelf import Loaded, NotAtHand


def run(room: Room, job_ids: Sequence[str], task_id: str, companions: int = GROUP) -> None:
    """Work the predict jobs that one doorbell names, and those that came meanwhile: their own bells will find nothing to do.

    Jobs whose model has no champion that can serve stay queued.

    Args:
        companions: how many others may be taken along.
    """
    owner = room.leases.owner()
    taken = _taken(room, job_ids, owner, task_id, companions)
    if taken.small:
        with room.leases.holding(owner):
            answers = [answer for asked in _by_version(taken) for answer in _answer(room, *asked)]
            recorded = _finish(room, owner, answers)
            _count(room, taken.small, answers, recorded)
    if taken.bulk:  # last: the small ones that were taken along do not wait for it
        carry(room, taken.bulk, task_id, bulk.work)
    if taken.later:
        run(room, taken.later, task_id, companions=0)


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a task works: single jobs, with the champions of their models, then tables; `later` wait until that is done."""

    small: list[Job]
    champions: dict[str, Loaded]
    bulk: Sequence[str] = ()
    later: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Answer:
    outcome: Outcome
    logged: Logged | None


def _taken(room: Room, job_ids: Sequence[str], owner: str, task_id: str, companions: int) -> _Taken:
    """The jobs that this task works. Loading a model takes a while: never while holding the ledger's one writer's lock.

    A claim that a power cut takes back is a job that waits again, so it needs no disk; the finish does.
    """
    unfit = _Unfit()
    claim = partial(_take, room, job_ids=job_ids, owner=owner, task_id=task_id, companions=companions, unfit=unfit)
    while True:
        try:
            return room.db.run(answered(room, owner, claim), within=room.db.singly_lax)
        except NotAtHand as missing:
            _load(room, missing.model, unfit)


@dataclass(frozen=True, slots=True)
class _Unfit:
    """Models whose champion cannot be loaded: only their own predictions wait.

    What is `away` may come back by itself, so these wait on; what is `refused` waits as for a first champion.
    """

    away: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)


def _load(room: Room, model: str, unfit: _Unfit) -> None:
    """Bring the model's champion into memory, or note why that cannot be."""
    try:
        with room.db.read() as tx:
            serving.champion(room, tx, model)
    except RefusedModel:  # people have been told
        unfit.refused.add(model)
    except (RegistryDown, UnknownVersion) as fault:
        logger.error("{} cannot be loaded, its predictions wait: {}", model, fault)
        unfit.away.add(model)


def _take(room: Room, tx: Connection, job_ids: Sequence[str], owner: str, task_id: str, companions: int, unfit: _Unfit) -> _Taken:
    """Claim the jobs that can be worked now; who is champion is looked at right before, or in the same moment."""
    lease = (owner, task_id, room.clock(), room.settings.job_lease_s)
    at_once, waiting = claims.take(tx, job_ids, PREDICT, companions, room.shelf.served(), *lease)
    if at_once:  # the others' model may have to be loaded, which takes a while
        champions = {name: room.shelf.at_hand(name) for name in {job.model for job in at_once}}
        return _Taken(at_once, champions, later=[job.id for job in waiting])
    if unfit.away:
        ledger.rung(tx, [job.id for job in waiting if job.model in unfit.away], room.clock())
        waiting = [job for job in waiting if job.model not in unfit.away]
    models = {job.model for job in waiting} - unfit.refused
    champions = {name: at for name in models if (at := room.shelf.champion(tx, name, load=False))}
    early = [job.id for job in waiting if job.model not in champions]
    if early:
        ledger.wait_for_champion(tx, early, task_id, room.clock(), room.settings.no_model_wait_s)
    ready = [job for job in waiting if job.model in champions]
    small = [job.id for job in ready if job.small]
    claimed = claims.claim(tx, small, *lease, in_lanes=False) if small else []
    return _Taken(claimed, champions, [job.id for job in ready if not job.small])


def _by_version(taken: _Taken) -> list[tuple[Loaded, list[Job], Loaded]]:
    """The jobs by who answers them, each group with its model's champion."""
    groups: dict[tuple[str, str], tuple[Loaded, list[Job], Loaded]] = {}
    for job in taken.small:
        champion = taken.champions[job.model]
        loaded = champion.answering(job.id, job.attempt)
        groups.setdefault((job.model, loaded.version.name), (loaded, [], champion))[1].append(job)
    return list(groups.values())


def _answer(room: Room, loaded: Loaded, jobs: Sequence[Job], champion: Loaded) -> list[_Answer]:
    """One prediction for all rows of a group; if that fails, job by job, so that only the culprit does."""
    try:
        packed = [PackedRows.decode(job.payload or b"") for job in jobs]
        said = Answers(predict(loaded.pipeline, loaded.problem, unpack(loaded.problem, joined(packed))))
    except Exception as fault:  # noqa: BLE001 - a model's own code may raise anything
        if len(jobs) > 1:
            return [answer for job in jobs for answer in _answer(room, loaded, [job], champion)]
        return [_failed(jobs[0], fault)] if loaded is champion else _instead(room, loaded, jobs, champion, fault)
    answers, start = [], 0
    for job, each in zip(jobs, packed, strict=True):
        answers.append(_succeeded(room, loaded, job, said, start, each.count))
        start += each.count
    return answers


def _instead(room: Room, canary: Loaded, jobs: Sequence[Job], champion: Loaded, fault: Exception) -> list[_Answer]:
    """The champion's answer where the canary has none: no client pays for a trial. If the champion has one, the trial is over."""
    answers = _answer(room, champion, jobs, champion)
    if answers[0].outcome.status == "succeeded":
        attempts.cannot_answer(room, canary.version, fault)
    return answers


def _failed(job: Job, fault: Exception) -> _Answer:
    with bound(job_id=job.id, request_id=job.request_id):
        logger.opt(exception=fault).error("predict {} raised {}", job.id, type(fault).__name__)
    message = f"{type(fault).__name__} in the model; the log has the details under this job's id."
    return _Answer(Outcome(job.id, "failed", error=ledger.error_json("model_error", message, job.attempt)), None)


def _succeeded(room: Room, loaded: Loaded, job: Job, said: Answers, start: int, count: int) -> _Answer:
    result = {
        "model": job.model,
        "version": loaded.version.name,
        "predictions": said.rows(job.id, start, start + count),
    }
    outcome = Outcome(job.id, "succeeded", result=msgspec.json.encode(result).decode())
    logged = Logged(job.id, job.model, loaded.version.name, count, job.payload, None, room.clock())
    return _Answer(outcome, logged)


def _finish(room: Room, owner: str, answers: Sequence[_Answer]) -> set[str]:
    def record(tx: Connection) -> set[str]:
        logged = [answer.logged for answer in answers if answer.logged]
        return ledger.finish(tx, owner, [answer.outcome for answer in answers], room.clock(), logged)

    recorded = room.db.run(record, within=room.db.singly)
    if recorded:
        room.bell.announce(sorted(recorded))
    return recorded


def _count(room: Room, jobs: Sequence[Job], answers: Sequence[_Answer], recorded: set[str]) -> None:
    """For the metrics; those who wait have been told already."""
    well = {answer.outcome.job_id: answer.logged for answer in answers if answer.logged}
    ended = [job for job in jobs if job.id in recorded]
    good, bad = [job for job in ended if job.id in well], [job for job in ended if job.id not in well]
    for status, some in (("succeeded", good), ("failed", bad)):
        if some:
            room.ended(some, status)
    for (model, version), rows in _rows(well[job.id] for job in good).items():
        room.leases.tally.count("predictions", model, version, by=rows)


def _rows(logged: Iterable[Logged]) -> Counter[tuple[str, str]]:
    rows: Counter[tuple[str, str]] = Counter()
    for each in logged:
        rows[each.model, each.version] += each.rows
    return rows
