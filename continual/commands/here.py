"""What every command needs: the client, and how the terminal wants to be spoken to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from dotenv import dotenv_values

from continual.answers import Job
from continual.client import Client, Told

F = TypeVar("F", bound=Callable[..., Any])
STEPS = 1_000  # of a bar


@dataclass
class Here:
    """Where the command runs: against which stack, as whom, on what kind of terminal.

    Attributes:
        json: whether machines read what it says.
        plain: no colour was asked for.
    """

    url: str
    token: str
    data_dir: str
    plain: bool = False
    json: bool = False

    @cached_property
    def client(self) -> Client:
        """The stack's client; closed with the process."""
        return Client(self.url, self.secret, patience_s=20.0)

    @property
    def secret(self) -> str:
        """The token that was given, or the one that the stack of this machine keeps; empty if there is none."""
        kept = Path(self.data_dir) / "api_key"
        return self.token or (kept.read_text().strip() if kept.exists() else "")

    @property
    def live(self) -> bool:
        """Whether somebody watches: then bars move."""
        return sys.stderr.isatty() and not self.plain

    def colour(self, text: str, name: str) -> str:
        """The text in a colour, where that can be seen."""
        return click.style(text, fg=name) if sys.stdout.isatty() and not self.plain else text

    def say(self, value: object, text: Callable[[], str]) -> None:
        """The value as JSON where that was asked for, else its text."""
        click.echo(as_json(value) if self.json else text())

    @contextmanager
    def bar(self, label: str) -> Iterator[Told | None]:
        """A bar on stderr that follows a job; None where nobody watches."""
        if not self.live or self.json:
            yield None
            return
        with click.progressbar(length=STEPS, label=label, file=sys.stderr, show_eta=False) as bar:

            def told(job: Job) -> None:
                share = 1.0 if job.succeeded else job.progress or 0.0
                bar.label = f"{label} {job.status}"
                bar.update(max(0, int(share * STEPS) - bar.pos))

            yield told

    def finish(self, job: Job, label: str) -> Job:
        """The job at its end, with a bar meanwhile.

        Raises:
            click.ClickException: it ended without a result.
        """
        with self.bar(label) as told:
            ended = job if job.ended else self.client.wait(job, told=told)
        if not ended.succeeded:
            faults = [
                f"\n  {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in (ended.error.errors if ended.error else [])
            ]
            raise click.ClickException(f"{ended.failure}{''.join(faults[:10])}")
        return ended


def command(name: str | None = None, **more: Any) -> Callable[[F], click.Command]:
    """A command that is given `here`, and that may be asked for `--json`."""

    def made(function: F) -> click.Command:
        @click.command(name or function.__name__.rstrip("_").replace("_", "-"), help=function.__doc__, **more)
        @click.option("--json", "as_json_", is_flag=True, help="For machines.")
        @click.pass_obj
        def run(here: Here, /, **asked: Any) -> Any:
            here.json = asked.pop("as_json_")
            return function(here, **asked)

        made_of: click.Command = run
        made_of.params = [*getattr(function, "__click_params__", [])[::-1], *made_of.params]
        return made_of

    return made


def model_option(function: F) -> F:
    """`-m MODEL`."""
    return click.option("-m", "--model", default="default", show_default=True, help="The model's name.")(function)


def most_option(function: F) -> F:
    """`-n COUNT`: how many entries of a list."""
    count = click.IntRange(1, 100)
    return click.option("-n", "--limit", default=20, show_default=True, type=count, help="Entries, newest first.")(function)


def as_json(value: object) -> str:
    """Anything that came back, as JSON that people can read too."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def known_settings() -> Mapping[str, str]:
    """What `.env` in this folder says: on the machine of the stack it knows where the API is."""
    return {name: value for name, value in dotenv_values(".env").items() if value}
