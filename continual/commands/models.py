"""`models`, `versions`, `checks`, `decisions`, `why`, `rollback`, `stop-trial`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from continual.answers import Decision
from continual.client import Client, every
from continual.commands.here import Here, command, model_option, most_option
from continual.commands.words import moment, number, table

SHOWN_ID = 8  # characters of an id that mostly tell it from the others


@command()
@most_option
def models(here: Here, limit: int) -> None:
    """List models."""
    found = here.client.models(limit=limit)
    rows = [
        (each.name, each.schema["task"], f"{each.settings['metric']} ≥ {each.settings['threshold']:g}", each.champion, each.rows)
        for each in found
    ]
    here.say(found.entries, lambda: table(("model", "task", "wanted", "version", "labelled rows"), rows, "No model."))


@command()
@model_option
@most_option
def versions(here: Here, model: str, limit: int) -> None:
    """List a model's versions, newest first."""
    found = here.client.versions(model, limit=limit)
    rows = [(each.version, ", ".join(each.aliases), number(each.metrics.get("score"), 3), each.created_at) for each in found]
    none = "No version yet: the first labelled rows train one."
    here.say(found.entries, lambda: table(("version", "", "score held out", "created"), rows, none))


@command()
@model_option
@most_option
def checks(here: Here, model: str, limit: int) -> None:
    """List a model's drift checks, newest first."""
    found = here.client.checks(model, limit=limit)
    rows = [
        (
            each.created_at,
            each.decision,
            each.labels_seen,
            f"{number(each.statistic, 1)} of {number(each.limit, 0)}",
            each.train_job,
        )
        for each in found
    ]
    head = ("when", "found", "new labels", "evidence", "training")
    here.say(found.entries, lambda: table(head, rows, "No check yet."))


@command()
@model_option
@most_option
def decisions(here: Here, model: str, limit: int) -> None:
    """List what was decided about a model and why, newest first."""
    found = here.client.decisions(model, limit=limit)
    rows = [(each.id, each.created_at, each.action, each.version, each.reason) for each in found]
    here.say(found.entries, lambda: table(("id", "when", "decided", "version", "why"), rows, "Nothing was decided yet."))


@command()
@click.argument("decision_id", metavar="DECISION", default="last")
@click.option("-m", "--model", help="Only this model's decisions.")
def why(here: Here, decision_id: str, model: str | None) -> None:
    """Tell a decision as a story: its id or how that begins, or `last`."""
    found = find_decision(here.client, decision_id, model)
    here.say(found, lambda: story(found))


@command()
@model_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def rollback(here: Here, model: str, yes: bool) -> None:
    """Let the version serve again that the champion replaced."""
    now = here.client.status(model)
    if not yes:
        click.confirm(f"Roll '{model}' back from v{now.version}? Labels from before start no training.", abort=True, err=True)
    then = here.client.rollback(model)
    here.say(then, lambda: f"v{then.version} of {model} serves again, in place of v{now.version}.")


@command()
@model_option
def stop_trial(here: Here, model: str) -> None:
    """Reject the challenger on trial: the champion answers everything again."""
    now = here.client.stop_trial(model)
    here.say(now, lambda: f"The trial is over: v{now.version} of {model} answers everything again.")


def find_decision(client: Client, wanted: str, model: str | None) -> Decision:
    """The decision of this id, or whose id begins so, or the last one.

    Raises:
        click.UsageError: there is none, or more than one.
    """
    found = [each for each in _decisions(client, model) if wanted == "last" or each.id.startswith(wanted)]
    if wanted == "last" and found:
        return max(found, key=lambda each: each.created_at)
    if len(found) != 1:
        said = "no decision's id begins" if not found else f"{len(found)} decisions' ids begin"
        raise click.UsageError(f"{wanted}: {said} so; `continual decisions` lists them.")
    return found[0]


def _decisions(client: Client, model: str | None) -> Iterator[Decision]:
    names = [model] if model else [each.name for each in every(client.models)]
    for name in names:
        yield from every(client.decisions, name)


def story(found: Decision) -> str:
    """A decision in words: what, when, why, and the figures behind it."""
    moved = f"v{found.from_version} → v{found.version}" if found.from_version and found.version else f"v{found.version or '–'}"
    evidence = found.evidence
    lines = [f"{found.action} {moved}, {moment(found.created_at)}", f"  {found.reason}"]
    lines += [f"  {line}" for line in (*_cause(evidence), *_candidates(evidence), *_learnt(evidence)) if line]
    lines.append(f"  job {found.job_id}" if found.job_id else "  decided by a person, or by the watch over the champion")
    if evidence.get("data"):
        lines.append(f"  the same training again: continual reproduce {found.id}")
    return "\n".join(lines)


def _cause(evidence: dict[str, Any]) -> Iterator[str]:
    check = evidence.get("check")
    check = check if isinstance(check, dict) else evidence
    statistic, limit = check.get("statistic"), check.get("limit")
    if isinstance(statistic, int | float) and isinstance(limit, int | float):
        near = check.get("rows_since_change")
        since = f"; the change began {near:,} rows before" if isinstance(near, int) else ""
        yield f"evidence {statistic:,.1f}, limit {limit:,.0f}{since}"


def _candidates(evidence: dict[str, Any]) -> Iterator[str]:
    for each in evidence.get("candidates") or ():
        figures = {name: value for name, value in each.items() if isinstance(value, int | float) and not isinstance(value, bool)}
        name = each.get("window") or each.get("name") or "candidate"
        yield f"challenger {name}: " + ", ".join(f"{key.replace('_', ' ')} {value:,.4g}" for key, value in figures.items())


def _learnt(evidence: dict[str, Any]) -> Iterator[str]:
    data = evidence.get("data") or {}
    if "rows" in data:
        beyond = f", {data['left_out']:,} left out: numbers that no estimator can learn" if data.get("left_out") else ""
        yield f"learnt from {data['rows']:,} rows{beyond}, seed {data.get('seed')}"


COMMANDS = (models, versions, checks, decisions, why, rollback, stop_trial)
