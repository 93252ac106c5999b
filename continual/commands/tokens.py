"""`tokens list | create | rotate | revoke`, and `audit`: who may do what, and who did."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from continual.answers import NewToken
from continual.commands.here import Here, command, most_option
from continual.commands.words import moment, table

ROLES = ("viewer", "client", "operator", "admin")


@click.group()
def tokens() -> None:
    """Tokens: list, create, rotate, revoke."""


@command("list")
@most_option
def list_(here: Here, limit: int) -> None:
    """List tokens, newest first."""
    found = here.client.tokens(limit=limit)
    rows = [(each.id, each.name, each.role, each.created_at, each.expires_at or "never") for each in found]
    here.say(found.entries, lambda: table(("id", "name", "role", "created", "expires"), rows, "None but API_KEY."))


@command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="viewer", show_default=True)
@click.option("--days", type=click.FloatRange(0, min_open=True), help="Until it expires; otherwise it lasts until revoked.")
def create(here: Here, name: str, role: str, days: float | None) -> None:
    """Make a token. Its secret is told this once."""
    until = datetime.now(UTC) + timedelta(days=days) if days else None
    made = here.client.make_token(name, role, until)
    here.say(made, lambda: _secret(made))


@command()
@click.argument("token_id", metavar="ID")
@click.option("--grace", type=click.FloatRange(0), default=24.0, show_default=True, help="Hours that the old secret stays valid.")
def rotate(here: Here, token_id: str, grace: float) -> None:
    """Give a token a new secret; the old one stays valid for a while beside it."""
    made = here.client.rotate_token(token_id, grace * 3600)
    here.say(made, lambda: f"{_secret(made)}\nThe old one ({token_id}) stays valid for {grace:g} h.")


@command()
@click.argument("token_id", metavar="ID")
def revoke(here: Here, token_id: str) -> None:
    """Revoke a token, from the next request on."""
    here.client.revoke_token(token_id)
    here.say({"id": token_id, "revoked": True}, lambda: f"Token {token_id} is revoked.")


@command()
@most_option
def audit(here: Here, limit: int) -> None:
    """Who changed what, newest first."""
    found = here.client.audit(limit=limit)
    rows = [(each.at, each.token_name, each.role, each.action, f"{each.subject} {each.detail}", each.address) for each in found]
    here.say(found.entries, lambda: table(("when", "who", "role", "did", "what", "from"), rows, "Nothing was changed yet."))


def _secret(made: NewToken) -> str:
    until = f"until {moment(made.expires_at)}" if made.expires_at else "until it is revoked"
    return f"{made.token}\nToken {made.id} '{made.name}', {made.role}, {until}. The secret is shown this once."


for each in (list_, create, rotate, revoke):
    tokens.add_command(each)
