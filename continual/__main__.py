"""`continual`: the command line. Exit status 0; 1 if it failed; 2 if it was asked wrongly."""

from __future__ import annotations

import sys

import click

from continual.commands import data, jobs, models, server, status, tokens
from continual.commands.here import Here, known_settings
from continual.errors import ApiError

ASKED_WRONGLY = {400, 401, 403, 404, 405, 406, 413, 415, 422}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--url", envvar=["CONTINUAL_URL", "API_BASE_URL"], help="Where the API is.  [CONTINUAL_URL, API_BASE_URL]")
@click.option("--token", envvar=["CONTINUAL_TOKEN", "API_KEY"], help="A token's secret.  [CONTINUAL_TOKEN, API_KEY]")
@click.option("--data-dir", envvar="DATA_DIR", help="Where a stack of this machine keeps api_key, if no token is given.")
@click.option("--port", envvar="API_PORT", hidden=True)
@click.option("--no-color", envvar="NO_COLOR", is_flag=False, flag_value="1", help="No colour, no moving bars.  [NO_COLOR]")
@click.version_option(package_name="continual-ml")
@click.pass_context
def cli(
    ctx: click.Context, url: str | None, token: str | None, data_dir: str | None, port: str | None, no_color: str | None
) -> None:
    """Predictions that stay good: ask for them, and see how the models behind them are.

    Without a token it takes API_KEY of .env, or the one that `make up` keeps in DATA_DIR/api_key.
    """
    known = known_settings()
    folder = data_dir or known.get("DATA_DIR") or "data"
    where = url or known.get("CONTINUAL_URL") or known.get("API_BASE_URL")
    where = where or f"http://127.0.0.1:{port or known.get('API_PORT') or 8000}"
    ctx.obj = Here(where, token or known.get("API_KEY") or "", folder, plain=bool(no_color))


for command in (
    *data.COMMANDS,
    *jobs.COMMANDS,
    *models.COMMANDS,
    *server.COMMANDS,
    *status.COMMANDS,
    tokens.tokens,
    tokens.audit,
):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and end the process."""
    try:
        status_ = cli.main(arguments, prog_name="continual", standalone_mode=False)
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(2 if isinstance(wrong, click.UsageError) else 1)
    except click.Abort:
        click.echo("Stopped.", err=True)
        sys.exit(1)
    except ApiError as refused:
        _tell(refused)
        sys.exit(2 if refused.status in ASKED_WRONGLY else 1)
    except (OSError, ValueError) as wrong:
        click.echo(str(wrong), err=True)
        sys.exit(2)
    sys.exit(status_ or 0)


def _tell(refused: ApiError) -> None:
    click.echo(str(refused), err=True)
    for fault in refused.problem.errors[1:10]:
        click.echo(f"  {'.'.join(map(str, fault.loc))}: {fault.msg}", err=True)
    if refused.unanswered:
        click.echo("Start one with `make up`, say where one is with --url, or ask `continual doctor`.", err=True)
    elif refused.status == 401:
        click.echo("Give a token with --token or CONTINUAL_TOKEN.", err=True)
    elif refused.status >= 500:
        click.echo(f"The API's log has it under request id {refused.problem.request_id or 'unknown'}.", err=True)


if __name__ == "__main__":
    main()
