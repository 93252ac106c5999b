"""From how things are to the one sentence that says what to do: the gravest thing that is wrong, or that nothing is."""

from __future__ import annotations

from dataclasses import dataclass

from continual.answers import Health, Model, ModelStatus, Overview
from dashboard.words import bound, count, figure, is_good, seconds

LATE_S = 60.0  # a job that has waited for longer wants more workers
STOPPED = {
    "database": "The database does not answer, so nothing is accepted: bring it back.",
    "disk": "The disk is nearly full, so nothing is accepted: make room in the data folder.",
    "workers": "No worker takes predictions, so jobs wait: start one (the log of the last one says why it ended).",
    "broker": "Redis does not answer. Jobs are accepted and wait: bring it back, and they go on.",
    "beat": "Beat is silent, so nothing is checked or retrained by itself: start it.",
    "registry": "The model registry does not answer. Champions serve on, but nothing new can be promoted: bring MLflow back.",
}


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the stack gave; `notices` is whether a job died or notifications fail, in a sentence, or nothing."""

    health: Health
    status: ModelStatus
    model: Model
    overview: Overview
    notice: str = ""


Advice = tuple[str, str]  # the kind of notification that it would be, and the sentence


def advice(look: Look) -> Advice:
    """What the reader should do."""
    for rule in (_stopped, _late, _told, _no_model, _tried, _drifting, _below, _unlabelled):
        found = rule(look)
        if found is not None:
            return found
    return "success", "Nothing needs you."


def _stopped(look: Look) -> Advice | None:
    down = {name for name, part in look.health.components.items() if part.status != "ok"}
    for name, sentence in STOPPED.items():
        if name in down:
            return "failure", sentence
    return None


def _late(look: Look) -> Advice | None:
    oldest = max((queue.oldest_age_s for queue in look.overview.queues if queue.name != "train"), default=0.0)
    if oldest <= LATE_S:
        return None
    waiting = count(look.overview.queued, "job")
    return "warning", f"{waiting} in the queue, the oldest for {seconds(oldest)}: add workers if this goes on."


def _told(look: Look) -> Advice | None:
    return ("warning", look.notice) if look.notice else None


def _no_model(look: Look) -> Advice | None:
    if look.status.state != "no_model":
        return None
    if look.model.name == "default":
        return "info", "The first model is on its way: the loop makes its data and trains it within two intervals."
    return "info", f"'{look.model.name}' has no model yet: upload labelled rows on the Data page, and the loop trains it."


def _tried(look: Look) -> Advice | None:
    trial = look.status.trial
    if trial is None:
        return None
    return (
        "info",
        f"v{trial.version} is on trial beside v{look.status.version}: it serves if it proves better. Nothing needs you.",
    )


def _drifting(look: Look) -> Advice | None:
    if look.status.state == "drifting":
        return "drift", "A drift was found. The loop retrains by itself as soon as there are rows enough; more labels help."
    if look.status.state == "retraining":
        return "drift", "A challenger is being trained. Nothing needs you: it serves only if it is better."
    return None


def _below(look: Look) -> Advice | None:
    value, metric = look.status.performance, str(look.model.settings["metric"])
    if value is None or is_good(metric, value, look.status.threshold):
        return None
    side = "above its ceiling" if bound(metric) == "ceiling" else "below its floor"
    said = f"{metric} {figure(value)} is {side} of {look.status.threshold:g}, and no better challenger was found"
    return "warning", f"{said}: look at features and labels, or declare another estimator."


def _unlabelled(look: Look) -> Advice | None:
    if look.model.rows or look.status.performance is not None:
        return None
    return "info", "No labels yet. Drift is judged on labels: POST /feedback, or label a prediction on Try it."
