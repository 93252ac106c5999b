"""Tokens: made, listed, rotated, revoked. The secret is shown once; only its hash is kept."""

from __future__ import annotations

import math
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

from flask import Response
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from api import bodies
from api.asking import page_of_query
from api.auditing import act
from api.bodies import JSON, Body
from api.errors import Refused, not_found, unprocessable
from api.house import house
from api.jobs import checked
from api.routes import PAGE, ListOf, Routes
from api.verified import Role, hash_of
from api.views import TokenView, answer, answer_page, token_view
from storage import audit, tokens
from storage.ids import new_id
from storage.tokens import Token

LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()  # what can be told
routes = Routes("tokens")


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("expected printable characters")
    return name


def _moment(text: object) -> object:
    """Strict pydantic takes no text for a moment where the value was decoded already."""
    if isinstance(text, str):
        found = datetime.fromisoformat(text)
        try:
            return found.astimezone(UTC) if found.tzinfo else found
        except OverflowError:
            raise ValueError("expected a moment of the years 1 to 9999 in UTC") from None
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
        audit.add(tx, act("create", f"token {token.id}", f"'{token.name}', {token.role}"))
    return _with_secret(token, secret)


def _with_secret(token: Token, secret: str) -> Response:
    view = token_view(token)
    return answer(NewTokenView(view.id, view.name, view.role, view.created_at, view.expires_at, secret), 201)


class RotateBody(Body):
    """How long the old secret stays valid beside the new one, seconds; a day unless told otherwise."""

    grace_s: float = Field(86_400.0, ge=0, le=30 * 86_400.0, allow_inf_nan=False)


@routes.on(
    "POST",
    "/tokens/{id}/rotate",
    "admin",
    "Give a token a new secret: a new token of the same name, role and lifespan. The old one stays valid for `grace_s` seconds.",
    bodies={JSON: RotateBody},
    answers={201: NewTokenView},
    refusals=(404, 409),
)
def rotate_token(id_: str) -> Response:
    bodies.media_type(JSON)
    body = bodies.small(RotateBody, bodies.read())
    parts, now, secret = house(), house().clock(), secrets.token_urlsafe(32)
    with parts.database.begin() as tx:
        old = tokens.get(tx, checked(id_, "This token"))
        if old is None or (old.expires_at is not None and old.expires_at <= now):
            raise not_found(f"Token {id_}")
        lasts = None if old.expires_at is None else min(now + old.expires_at - old.created_at, LAST)
        token = replace(old, id=new_id(now), hash=hash_of(secret), created_at=now, expires_at=lasts, successor=None)
        if not tokens.succeed(tx, old.id, token.id, min(now + body.grace_s, old.expires_at or math.inf)):
            raise Refused(409, "The token was rotated already, and is in its grace: rotate its successor, or make a new token.")
        tokens.add(tx, token)
        audit.add(tx, act("rotate", f"token {old.id}", f"'{old.name}', by token {token.id}"))
    parts.verified.forget()
    return _with_secret(token, secret)


@routes.on("GET", "/tokens", "admin", "List tokens, newest first.", answers={200: ListOf("tokens", TokenView)}, query=PAGE)
def list_tokens() -> Response:
    limit, cursor = page_of_query()
    with house().database.read() as tx:
        return answer_page("tokens", tokens.listed(tx, limit, cursor), token_view)


@routes.on("DELETE", "/tokens/{id}", "admin", "Revoke a token, from the next request on.", answers={204: None}, refusals=(404,))
def revoke_token(id_: str) -> Response:
    with house().database.begin() as tx:
        gone = tokens.remove(tx, checked(id_, "This token"))
        if gone:
            audit.add(tx, act("revoke", f"token {id_}"))
    house().verified.forget()
    if not gone:
        raise not_found(f"Token {id_}")
    return Response(status=204)
