"""The training: history in; challengers, a gate and a version out. Promotion, record and follow-ups are one transaction."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from sklearn.pipeline import Pipeline
from sqlalchemy import Connection

from ml.challenger import LARGEST_HISTORY, OneClass, TooFewRows, Training, next_follow_up, train
from ml.feature_drift import reference_sketch
from ml.model_file import TRUSTED, UntrustedModel, dump
from ml.rows import take
from problems.declaration import Problem
from registry.port import RegistryDown, Upload
from settings import VERSION
from storage import champions, datasets, jobs, models, versions
from storage.jobs import Job, NewJob
from storage.models import Model
from storage.versions import Version
from workers import history
from workers.attempts import attempted
from workers.history import History
from workers.incidents import tell
from workers.lease import Claim
from workers.room import Room
from workers.run import Done, JobFailed, TryLater

SAMPLE = 5  # rows that the registry's signature is inferred from


def work(room: Room, job: Job, claim: Claim) -> Done:
    """Train challengers on the history as it stands, and promote one if it beats the champion."""
    asked: dict[str, Any] = msgspec.json.decode(job.payload or b"{}")
    with room.db.read() as tx:
        model = models.get(tx, job.model)
        if model is None or model.champion != asked["from_version"]:
            raise JobFailed(
                "superseded",
                f"'{job.model}' is served by another version than the one this training was to replace.",
            )
        problem = room.shelf.problem(model)
        past = history.between(room, tx, problem, max(model.tail, model.head - LARGEST_HISTORY), model.head)
        champion = room.shelf.champion(tx, job.model)
        lineage = _lineage(tx, model, past)
    if past is None:
        raise JobFailed("too_few_rows", "There are no labelled rows.")
    since = None if asked["change_position"] is None else model.head - asked["change_position"]
    made = _train(problem, past, champion.pipeline if champion else None, since, asked)
    claim.check()
    lineage |= {
        "seed": asked["seed"],
        "window": made.window,
        "window_rows": made.rows,
        "code_version": code_version(),
    }
    if made.model is None:
        return Done(
            _result(made, None),
            settle=lambda tx, now: _reject(room, tx, job, model, problem, made, lineage, now),
        )
    version = _keep(room, job, model, problem, past, made, made.model, lineage, asked)
    return Done(
        _result(made, version.name),
        settle=lambda tx, now: _promote(room, tx, job, model, problem, version, made, since, now),
    )


def _train(problem: Problem, past: History, champion: Any, since: int | None, asked: dict[str, Any]) -> Training:
    try:
        return train(problem, past.rows, past.truth, champion, since, asked["seed"], asked["reason"])
    except (TooFewRows, OneClass, ValueError) as wrong:
        kind = {TooFewRows: "too_few_rows", OneClass: "one_class"}.get(type(wrong), "cannot_train")
        raise JobFailed(kind, str(wrong)) from wrong


def _lineage(tx: Connection, model: Model, past: History | None) -> dict[str, Any]:
    """Which rows the history is made of: datasets with their hashes, positions, and how many came as labels."""
    first, last = (int(past.positions[0]), int(past.positions[-1])) if past else (0, 0)
    used = datasets.between(tx, model.name, first, last + 1)
    rows = len(past) if past else 0
    of_datasets = sum(min(last + 1, each.position + each.rows) - max(first, each.position) for each in used)
    return {
        "positions": [first, last + 1],
        "rows": rows,
        "labels": rows - of_datasets,
        "datasets": [{"id": each.id, "sha256": each.sha256, "rows": each.rows, "source": each.source} for each in used],
        "problem": dict(model.declared),
    }


@lru_cache(maxsize=1)
def code_version() -> str:
    """The commit of this code, or the release where there is no repository or no git (an image has neither)."""
    git, root = shutil.which("git"), Path(__file__).parent.parent
    if git is None or not (root / ".git").exists():
        return VERSION
    asked = subprocess.run([git, "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or VERSION


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


def _keep(
    room: Room,
    job: Job,
    model: Model,
    problem: Problem,
    past: History,
    made: Training,
    winner: Pipeline,
    lineage: dict[str, Any],
    asked: dict[str, Any],
) -> Version:
    """Write the winner's file and register it; its path is this attempt's own."""
    name = f"models/{model.name}/{job.id}-{job.attempt}.skops"
    try:
        with room.artifacts.writing(name) as draft:
            digest = dump(winner, draft)
    except UntrustedModel as wrong:
        raise JobFailed("cannot_store", str(wrong)) from wrong
    sample = take(past.rows, slice(0, SAMPLE))
    metrics = {
        "score": made.challenger_score,
        problem.metric: made.challenger_score,
        "holdout_rows": float(made.holdout_rows),
    }
    upload = Upload(
        model.name,
        winner,
        room.artifacts.path(name),
        sample,
        winner.predict(sample),
        metrics,
        {
            "model_type": problem.estimator,
            "n_samples": made.rows,
            "performance_threshold": problem.threshold,
            "seed": asked["seed"],
        },
        {"job_id": job.id, "attempt": str(job.attempt), "sha256": digest, **_tags(lineage)},
        sorted(TRUSTED),
    )
    try:
        number = room.registry.register(upload)
    except RegistryDown as down:
        raise TryLater(str(down), 5.0, 60) from None
    reference = asdict(made.reference) | {"error_scale": made.error_scale}
    sketch = reference_sketch(problem, past.rows)
    now = room.clock()
    shown = metrics | {"window": made.window, "rows": made.rows, "champion_score": made.champion_score}
    return Version(
        model.name,
        int(number),
        job.id,
        now,
        name,
        digest,
        shown,
        lineage,
        model.champion,
        reference,
        sketch,
        list(made.classes) or None,
    )


def _tags(lineage: dict[str, Any]) -> dict[str, str]:
    return {
        "dataset_ids": ",".join(each["id"] for each in lineage["datasets"])[:5000],
        "dataset_sha256": ",".join(each["sha256"] for each in lineage["datasets"])[:5000],
        "positions": "-".join(map(str, lineage["positions"])),
        "seed": str(lineage["seed"]),
        "code_version": lineage["code_version"],
    }


def _evidence(made: Training, lineage: dict[str, Any]) -> dict[str, Any]:
    return {
        "reason": made.reason,
        "candidates": [asdict(each) for each in made.candidates],
        "challenger_loss": made.challenger_loss,
        "champion_loss": made.champion_loss,
        "holdout_rows": made.holdout_rows,
        "reference": asdict(made.reference),
        "data": lineage,
    }


def _compared(problem: Problem, made: Training) -> str:
    before = "" if made.champion_score is None else f" against {made.champion_score:.3f}"
    rows = f"on {made.holdout_rows:,} held-out rows ({made.window}, {made.rows:,} rows)"
    return f"{problem.metric} {made.challenger_score:.3f}{before} {rows}"


def _promote(
    room: Room,
    tx: Connection,
    job: Job,
    model: Model,
    problem: Problem,
    version: Version,
    made: Training,
    since: int | None,
    now: float,
) -> Sequence[NewJob]:
    current = models.lock(tx, model.name)
    if current.champion != model.champion:
        raise JobFailed("superseded", f"Version {current.champion} began to serve while this training ran.")
    versions.add(tx, version)
    again = next_follow_up(since) if since and made.reason in ("drift", "floor", "follow_up") else None
    follow_up = None if again is None or since is None else model.head - since + again
    champions.serve(
        tx,
        model.name,
        version.name,
        model.head,
        attempt_head=model.head,
        attempt_rows=model.rows,
        follow_up_at=follow_up,
        change_position=None if since is None else model.head - since,
        performance=made.challenger_score,
        last_trained_at=now,
        classes=sorted({*(current.classes or []), *made.classes}, key=str) or None,
    )
    reason = f"Version {version.name} promoted: {_compared(problem, made)}."
    champions.record(
        tx,
        model.name,
        "promote",
        version.name,
        model.champion,
        reason,
        now,
        job.id,
        _evidence(made, dict(version.data)),
    )
    jobs.wake_waiting(tx, model.name, now)
    verb = (
        "fixed by itself"
        if made.reason in ("drift", "floor")
        else "has its first version"
        if model.champion is None
        else "improved"
    )
    title = f"Drift in {model.name}, {verb}" if verb == "fixed by itself" else f"{model.name} {verb}"
    line = f"retrained and promoted: version {model.champion or '–'} → {version.name}, {_compared(problem, made)}"
    return [tell(room, tx, _key(made, job), "success", "resolved", title, [line], now, model.name)]


def _key(made: Training, job: Job) -> str:
    return f"drift:{job.model}" if made.reason in ("drift", "floor") else f"training:{job.id}"


def _reject(
    room: Room,
    tx: Connection,
    job: Job,
    model: Model,
    problem: Problem,
    made: Training,
    lineage: dict[str, Any],
    now: float,
) -> Sequence[NewJob]:
    attempted(tx, model, now)
    again = next_follow_up(model.head - model.change_position) if model.change_position is not None else None
    if made.reason == "follow_up" and again is not None and model.change_position is not None:
        models.change(tx, model.name, follow_up_at=model.change_position + again, change_position=model.change_position)
    reason = f"Version {model.champion} stays: the best challenger has {_compared(problem, made)}."
    champions.record(tx, model.name, "reject", None, model.champion, reason, now, job.id, _evidence(made, lineage))
    title = f"{model.name} retrained, version {model.champion} stays"
    return [
        tell(
            room,
            tx,
            _key(made, job),
            "warning",
            "resolved",
            title,
            [f"retrained and rejected: {reason}"],
            now,
            model.name,
        )
    ]
