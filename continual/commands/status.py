"""`status`: the dashboard's first page in eight lines."""

from __future__ import annotations

from continual.answers import Check, Decision, Health, Incident, Model, ModelStatus, Overview, Page
from continual.commands.here import Here, command, model_option
from continual.commands.words import moment, number, sparkline, until

SIGNS = {"healthy": ("●", "green"), "drifting": ("▲", "yellow"), "retraining": ("↻", "yellow"), "no_model": ("○", "red")}


@command()
@model_option
def status(here: Here, model: str) -> None:
    """How a model is, what was decided last, and what needs you."""
    client = here.client
    now, health, known = client.status(model), client.health(), client.model(model)
    checks, decided = client.checks(model, limit=60), client.decisions(model, limit=1)
    incidents, busy = client.incidents(limit=1), client.overview()
    told = {"status": now, "health": health, "checks": checks.entries[:1], "decisions": decided.entries}
    told |= {"incidents": incidents.entries, "overview": busy}
    here.say(told, lambda: "\n".join(lines(here, now, health, known, checks, decided, incidents, busy)))


def lines(
    here: Here,
    now: ModelStatus,
    health: Health,
    known: Model,
    checks: Page[Check],
    decided: Page[Decision],
    incidents: Page[Incident],
    busy: Overview,
) -> list[str]:
    """The eight."""
    sign, colour = SIGNS.get(now.state, ("?", "red"))
    course = [
        value for check in reversed(checks.entries) if isinstance(value := check.everything.get("performance"), int | float)
    ]
    floor = f"{known.settings['metric']} {number(now.performance)}, wanted {now.threshold:g}"
    oldest = max((each.oldest_age_s for each in busy.queues), default=0.0)
    queue = f"{busy.queued:,} wait, the oldest for {oldest:,.0f} s · {busy.running} run"
    queue = f"{queue} · {busy.predictions_per_s:,.1f} predictions/s"
    parts = " · ".join(
        f"{name} {here.colour(part.status, 'green' if part.status == 'ok' else 'red')}"
        for name, part in health.components.items()
    )
    last, told = next(iter(decided.entries), None), next(iter(incidents.entries), None)
    return [
        f"{now.model}   {here.colour(f'{sign} {now.state}', colour)}   next check {until(now.automation.next_check_at)}",
        f"{floor}   {sparkline(course)}".rstrip(),
        f"v{now.version} serves, trained {moment(now.last_trained_at)}{_tried(now)}" if now.version else "No version serves yet.",
        f"last decision   {last.action} {moment(last.created_at)}: {last.reason}" if last else "last decision   none yet",
        f"last incident   {told.title} ({told.state}, {moment(told.updated_at)})" if told else "last incident   none",
        f"queue           {queue} · last check {moment(now.last_check_at)}",
        f"parts           {parts}",
        advice(now, health),
    ]


def _tried(now: ModelStatus) -> str:
    """The challenger beside it, if there is one."""
    if now.trial is None:
        return ""
    rows, most = now.trial.figures.get("rows"), now.trial.figures.get("rows_limit")
    return f"; v{now.trial.version} is on trial ({now.trial.mode}, {rows} of {most} labelled rows)"


def advice(now: ModelStatus, health: Health) -> str:
    """What to do, in a sentence."""
    down = [name for name, part in health.components.items() if part.status != "ok"]
    if down:
        return f"{', '.join(down)} down: ask `continual doctor`."
    if now.state == "no_model":
        return (
            "Nothing to do if labelled rows have arrived: the loop trains a first version. Otherwise: continual upload ROWS.csv"
        )
    if now.trial is not None:
        return f"Nothing needs you: v{now.trial.version} serves if it proves better."
    if now.state == "retraining":
        return "Nothing needs you: a retraining is under way."
    if now.state == "drifting":
        return "The model drifts; the loop retrains it when it has rows enough. Labels help: continual feedback LABELS.csv"
    return "Nothing needs you."


COMMANDS = (status,)
