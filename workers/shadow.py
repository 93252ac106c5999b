"""Shadow: a challenger on trial answers what the champion has just answered, after it, for nobody but the ledger.

A check asks for it, on a queue of its own. While clients wait it does nothing, and of a backlog it answers the newest
part only. Nothing is judged by these answers: the challenger's file does not change, so a check that has labels asks it
for the same rows and gets the same answers. What shadow adds is known before any label: that it can answer the
traffic, and how often the two agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from jobs.kinds import GROUP, PREDICT
from ml.prediction import Prediction, predict
from ml.rows import unpack
from problems.rows import PackedRows, joined
from storage import jobs, ledger, shadows, trials
from storage.jobs import Job, NewJob
from storage.predictions import Logged
from storage.shadows import Shadow
from storage.trials import Trial
from workers import serving
from workers.answers import Answers
from workers.lease import Claim
from workers.room import Room
from workers.run import Done, JobFailed
from workers.shelf import Loaded

ROWS = 2_000  # at once: what came before these is skipped


def wanted(room: Room, tx: Connection, check: Job, trial: Trial) -> list[NewJob]:
    """The job that answers in shadow what came since the last one, unless that is still at work."""
    if trial.mode != "shadow" or jobs.open_job(tx, "shadow", trial.model) is not None:
        return []
    payload = msgspec.json.encode({"version": trial.version})
    return [room.new_job("shadow", trial.model, payload, dedupe_key=f"shadow:{check.id}")]


def work(room: Room, job: Job, claim: Claim) -> Done:
    """Answer the newest predictions that have no shadow yet."""
    version = msgspec.json.decode(job.payload or b"{}")["version"]
    with room.db.read() as tx:
        trial = trials.get(tx, job.model)
        busy = ledger.backlog(tx).get(PREDICT, (0, 0.0))[0] >= GROUP
        over = trial is None or trial.version != version
        entries = [] if over or busy or trial is None else shadows.unanswered(tx, job.model, trial.began_at, ROWS)
        champion = serving.champion(room, tx, job.model) if entries else None
    challenger = serving.version(room, job.model, version) if champion else None
    if champion is None or challenger is None:
        return _done(job, version, [])
    made = _answers(room, champion, challenger, entries)
    claim.check()
    return _done(job, version, made)


def _done(job: Job, version: str, made: Sequence[Shadow]) -> Done:
    answered, agreed = sum(each.rows for each in made), sum(each.agreed for each in made)

    def settle(tx: Connection, _: float) -> Sequence[NewJob]:
        shadows.log(tx, made)
        trials.count(tx, job.model, version, answered, agreed)
        return ()

    return Done({"model": job.model, "version": version, "rows": answered, "agreed": agreed}, settle=settle)


def _answers(room: Room, champion: Loaded, challenger: Loaded, entries: Sequence[Logged]) -> list[Shadow]:
    """What the challenger says, all rows at once.

    Raises:
        JobFailed: it cannot; the champion could.
    """
    packed = [PackedRows.decode(each.features or b"") for each in entries]
    rows = unpack(champion.problem, joined(packed))
    before = predict(champion.pipeline, champion.problem, rows)
    try:
        said = predict(challenger.pipeline, challenger.problem, rows)
    except Exception as fault:  # a model's own code may raise anything
        raise JobFailed("model_error", f"{type(fault).__name__} in version {challenger.version.name}") from fault
    alike, answers = _alike(champion, before, said), Answers(said)
    made, start = [], 0
    for entry in entries:
        stop = start + entry.rows
        text = msgspec.json.encode(answers.rows(entry.job_id, start, stop)).decode()
        agreed = int(alike[start:stop].sum())
        made.append(Shadow(entry.job_id, entry.model, challenger.version.name, entry.rows, agreed, text, room.clock()))
        start = stop
    return made


def _alike(champion: Loaded, before: Prediction, said: Prediction) -> NDArray[np.bool_]:
    """Where both say the same: one label, or values that differ by less than the champion's usual error (its 80 % quantile)."""
    if champion.problem.task != "regression":
        return np.asarray(before.labels == said.labels)
    return np.asarray(np.abs(before.labels - said.labels) <= champion.version.reference["error_scale"])
