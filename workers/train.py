"""The training: history in; challengers, a gate and a version out. What follows from it is in `outcome`."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import msgspec
from loguru import logger
from sklearn.pipeline import Pipeline

from ml.challenger import OneClass, Recalled, TooFewRows, Training, train
from ml.feature_drift import reference_sketch
from ml.leakage import suspects
from ml.model_file import TRUSTED, UntrustedModel, dump
from ml.rows import LARGEST, take
from problems.declaration import Problem
from registry.port import RegistryDown, Upload
from storage import models
from storage.jobs import Job
from storage.versions import Version
from workers import history, lineage, outcome, preload, recall, serving
from workers.history import History, Learnable
from workers.lease import Claim
from workers.outcome import Attempt
from workers.room import Room
from workers.run import Done, JobFailed, TryLater

SAMPLE = 5  # rows that the registry's signature is inferred from
LACKS = {  # what history lacks, and what to do about it
    TooFewRows: ("too_few_rows", "; send more: labels to POST /feedback, or a table to POST /datasets"),
    OneClass: ("one_class", "; send rows or labels of another class to POST /datasets or POST /feedback"),
}
REGISTRY_PAUSE_S, REGISTRY_TIMES = 5.0, 60  # a registry that is away is waited for, five minutes in all


def work(room: Room, job: Job, claim: Claim) -> Done:
    """Train challengers on the history as it stands, and promote one (or put it on trial) if it beats the champion."""
    asked: dict[str, Any] = msgspec.json.decode(job.payload or b"{}")
    with room.db.read(one_moment=True) as tx:  # labels may be corrected meanwhile, and the record knows one moment
        model = models.get(tx, job.model)
        if model is None or model.champion != asked["from_version"]:
            message = f"'{job.model}' is served by another version than the one this training was to replace."
            raise JobFailed("superseded", message)
        problem = room.shelf.problem(model)
        read_at = room.clock()
        learnt = history.learnable(room, tx, problem, model.tail, model.head, asked["seed"])
        champion = serving.champion(room, tx, job.model)
        if learnt is None:
            raise JobFailed("too_few_rows", f"There are no labelled rows{LACKS[TooFewRows][1]}.")
        if learnt.left_out:
            logger.warning("{}: {} rows are not learnt, they hold numbers beyond {:.3g}", job.model, learnt.left_out, LARGEST)
        earlier = recall.earlier(tx, champion)
        known = lineage.of(tx, model, problem, learnt, champion, earlier)
    since = None if asked["change_position"] is None else model.head - asked["change_position"]
    recalled = recall.candidates(earlier, learnt.past, room.shelf.pipeline)
    made = _train(problem, learnt, champion.pipeline if champion else None, since, asked, recalled)
    claim.check()
    known |= {"read_at": lineage.moment(read_at), "seed": asked["seed"], "since": since}
    known |= {"window": made.window, "window_rows": made.rows}
    leaks = suspects(problem, learnt.past.rows, learnt.past.truth)
    attempt = Attempt(room, job, model, problem, made, known, since, leaks)
    if made.model is None:
        return Done(_result(made, None), settle=lambda tx, now: outcome.reject(attempt, tx, now))
    version = _keep(attempt, made.model, learnt.past)
    again = next((each for each in earlier if made.window == f"version {each.name}"), None)
    version = replace(version, sketch=again.sketch) if again else version
    preload.everywhere(room, version.artifact, version.sha256)
    result = _result(made, version.name) | ({"decision": "trial"} if attempt.is_tried else {})
    return Done(result, settle=lambda tx, now: outcome.won(attempt, version, tx, now))


def _train(
    problem: Problem, learnt: Learnable, champion: Any, since: int | None, asked: dict[str, Any], recalled: list[Recalled]
) -> Training:
    past, seed, reason = learnt.past, asked["seed"], asked["reason"]
    try:
        return train(problem, past.rows, past.truth, champion, since, seed, reason, learnt.replay, recalled)
    except (TooFewRows, OneClass, ValueError) as wrong:
        kind, advice = LACKS.get(type(wrong), ("cannot_train", ""))
        raise JobFailed(kind, f"{wrong}{advice}") from wrong


def _result(made: Training, version: str | None) -> dict[str, Any]:
    return {
        "decision": made.decision,
        "version": version,
        "challenger_score": made.challenger_score,
        "champion_score": made.champion_score,
        "rows": made.rows,
        "window": made.window,
        "seconds": round(made.seconds, 4),
        "holdout_rows": made.holdout_rows,
    }


def _keep(attempt: Attempt, winner: Pipeline, past: History) -> Version:
    """Write the winner's file and register it; its path is this attempt's own."""
    room, job, model, made = attempt.room, attempt.job, attempt.model, attempt.made
    name = f"models/{model.name}/{job.id}-{job.attempt}.skops"
    try:
        with room.artifacts.writing(name) as draft:
            digest = dump(winner, draft)
    except UntrustedModel as wrong:
        raise JobFailed("cannot_store", str(wrong)) from wrong
    try:
        number = room.registry.register(_upload(attempt, winner, past, name, digest))
    except RegistryDown as down:
        raise TryLater(str(down), REGISTRY_PAUSE_S, REGISTRY_TIMES) from None
    return Version(
        model=model.name,
        number=int(number),
        job_id=job.id,
        created_at=room.clock(),
        artifact=name,
        sha256=digest,
        metrics=_metrics(attempt) | {"window": made.window, "rows": made.rows, "champion_score": made.champion_score},
        data=attempt.lineage,
        promoted_from=model.champion,
        reference=asdict(made.reference) | {"error_scale": made.error_scale, "temperature": made.temperature},
        sketch=reference_sketch(attempt.problem, take(past.rows, slice(len(past) - made.rows, None))),
        classes=list(made.classes) or None,
    )


def _metrics(attempt: Attempt) -> dict[str, Any]:
    score = attempt.made.challenger_score
    return {"score": score, attempt.problem.metric: score, "holdout_rows": float(attempt.made.holdout_rows)}


def _upload(attempt: Attempt, winner: Pipeline, past: History, name: str, digest: str) -> Upload:
    job, problem, known = attempt.job, attempt.problem, attempt.lineage
    sample = take(past.rows, slice(0, SAMPLE))
    return Upload(
        model=problem.name,
        estimator=winner,
        file=attempt.room.artifacts.path(name),
        sample=sample,
        labels=winner.predict(sample),
        metrics=_metrics(attempt),
        params={
            "model_type": problem.estimator,
            "n_samples": attempt.made.rows,
            "performance_threshold": problem.threshold,
            "seed": known["seed"],
        },
        tags={"job_id": job.id, "attempt": str(job.attempt), "sha256": digest, **lineage.tags(known)},
        trusted=sorted(TRUSTED),
    )
