"""`jobs`, `job`, `cancel`, `retry`."""

from __future__ import annotations

import click

from continual.answers import KINDS, STATUSES, Job
from continual.commands.here import Here, command, most_option
from continual.commands.words import moment, table


@command()
@click.option("--kind", type=click.Choice(KINDS))
@click.option("--status", type=click.Choice(STATUSES))
@click.option("-m", "--model")
@most_option
def jobs(here: Here, kind: str | None, status: str | None, model: str | None, limit: int) -> None:
    """List jobs, newest first."""
    found = here.client.jobs(kind=kind, status=status, model=model, limit=limit)
    rows = [(each.id, each.kind, each.model, _state(each), each.attempt, each.created_at, _why(each)) for each in found]
    head = ("id", "kind", "model", "status", "attempt", "created", "error")
    here.say(found.entries, lambda: table(head, rows, "No such job."))


@command()
@click.argument("job_id", metavar="ID")
@click.option("--wait", is_flag=True, help="Until it has ended.")
def job(here: Here, job_id: str, wait: bool) -> int:
    """Show a job; with --wait its end, which is the exit status too."""
    found = here.client.job(job_id)
    if wait:
        with here.bar(found.kind) as told:
            found = here.client.wait(found, told=told)
    here.say(found, lambda: _story(found))
    return int(found.ended and not found.succeeded and wait)


@command()
@click.argument("job_id", metavar="ID")
def cancel(here: Here, job_id: str) -> None:
    """Cancel a job that has not ended."""
    found = here.client.cancel(job_id)
    here.say(found, lambda: f"{found.kind} {found.id}: {found.status}")


@command()
@click.argument("job_id", metavar="ID")
def retry(here: Here, job_id: str) -> None:
    """Post a dead or failed job once more, as a new job."""
    found = here.client.retry(job_id)
    here.say(found, lambda: f"{found.kind} {found.id}: {found.status}   watch it: continual job {found.id} --wait")


def _state(found: Job) -> str:
    running = found.status == "running" and found.progress is not None
    return f"running {found.progress:.0%}" if running else found.status


def _why(found: Job) -> str:
    return found.error.type if found.error else ""


def _story(found: Job) -> str:
    times = (("created", found.created_at), ("started", found.started_at), ("finished", found.finished_at))
    lines = [f"{found.kind} of {found.model}: {_state(found)}, attempt {found.attempt}"]
    lines += [f"  {name:<9} {moment(at)}" for name, at in times if at is not None]
    if found.error:
        lines += [f"  error     {found.error.type}: {found.error.message}"]
    if isinstance(found.result, dict):
        plain = {name: value for name, value in found.result.items() if not isinstance(value, list | dict)}
        lines += [f"  {name:<9} {value}" for name, value in plain.items()]
    return "\n".join(lines)


COMMANDS = (jobs, job, cancel, retry)
