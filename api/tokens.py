"""Tokens: made, listed, revoked. The secret is shown once; only its hash is kept."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Annotated

from flask import Response
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from api import bodies
from api.asking import page_of_query
from api.auth import audit
from api.bodies import JSON, Body
from api.errors import not_found, unprocessable
from api.house import house
from api.jobs import checked
from api.routes import PAGE, ListOf, Routes
from api.verified import Role, hash_of
from api.views import TokenView, answer, answer_page, token_view
from storage import tokens
from storage.ids import new_id
from storage.tokens import Token

routes = Routes("tokens")


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("expected printable characters")
    return name


def _moment(text: object) -> object:
    """Strict pydantic takes no text for a moment where the value was decoded already."""
    if isinstance(text, str):
        return datetime.fromisoformat(text)
    if text is None:
        return None
    raise ValueError("expected a moment as 2026-11-21T06:30:00Z, or null")


class TokenBody(Body):
    """A token to make; without `expires_at` it lasts until it is revoked."""

    name: Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_printable)]
    role: Role
    expires_at: Annotated[AwareDatetime | None, BeforeValidator(_moment)] = None


class NewTokenView(TokenView):
    """A token and its secret."""

    token: str


@routes.on(
    "POST",
    "/tokens",
    "admin",
    "Make a token; its secret is in this answer only.",
    bodies={JSON: TokenBody},
    answers={201: NewTokenView},
)
def make_token() -> Response:
    bodies.media_type(JSON)
    body = bodies.small(TokenBody, bodies.read())
    parts, now, secret = house(), house().clock(), secrets.token_urlsafe(32)
    expires = body.expires_at.timestamp() if body.expires_at else None
    if expires is not None and expires <= now:
        raise unprocessable((("expires_at",), "is in the past"))
    token = Token(new_id(now), body.name, body.role, hash_of(secret), now, expires)
    with parts.database.begin() as tx:
        tokens.add(tx, token)
    audit(f"made token '{token.name}' ({token.role})")
    view = token_view(token)
    return answer(NewTokenView(view.id, view.name, view.role, view.created_at, view.expires_at, secret), 201)


@routes.on("GET", "/tokens", "admin", "List tokens, newest first.", answers={200: ListOf("tokens", TokenView)}, query=PAGE)
def list_tokens() -> Response:
    limit, cursor = page_of_query()
    with house().database.read() as tx:
        return answer_page("tokens", tokens.listed(tx, limit, cursor), token_view)


@routes.on("DELETE", "/tokens/{id}", "admin", "Revoke a token, from the next request on.", answers={204: None}, refusals=(404,))
def revoke_token(id_: str) -> Response:
    with house().database.begin() as tx:
        gone = tokens.remove(tx, checked(id_, "This token"))
    house().verified.forget()
    if not gone:
        raise not_found(f"Token {id_}")
    audit(f"revoked token {id_}")
    return Response(status=204)
