"""Who asks, and what they may do: bearer tokens in the header, four roles, each including the one before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, cast

from flask import g, request
from flask_httpauth import HTTPTokenAuth
from werkzeug.datastructures import Authorization

from api.errors import Refused, busy
from api.house import house
from api.verified import ROLES, Caller, Role, hash_of, includes

FAILURES_A_MINUTE = 300  # wrong tokens from one address, before they are answered by 429


class BearerAuth(HTTPTokenAuth):  # type: ignore[misc]
    """Reads the header itself: Werkzeug's parser raises on some broken Basic ones, which have to be 401 like any other."""

    def get_auth(self) -> Authorization | None:
        """What follows `Bearer`, if that is the scheme."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return Authorization("bearer", token=token.strip()) if scheme.lower() == "bearer" else None


auth = BearerAuth(scheme="Bearer")


def caller() -> Caller:
    """Who makes the request that is being answered."""
    return cast(Caller, auth.current_user())


def needs(role: Role) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that lets a view run for this role and those above it."""
    return cast(Callable[..., Any], auth.login_required(role=[each for each in ROLES if includes(each, role)]))


@auth.verify_token  # type: ignore[untyped-decorator]
def _caller_of(secret: str) -> Caller | None:
    found = house().verified.caller(hash_of(secret)) if secret else None
    if found is not None:
        _keep_to_rate(found)
    return found


def _keep_to_rate(found: Caller) -> None:
    rates = house().rates
    g.counted_for = found.token_id
    if rates is not None and (wait := rates.take(found.token_id)):
        raise busy(429, f"Over the rate limit of {house().settings.rate_limit} for this token.", wait + 0.5)


@auth.get_user_roles  # type: ignore[untyped-decorator]
def _role_of(found: Caller) -> str:
    return found.role


@auth.error_handler  # type: ignore[untyped-decorator]
def _refuse(status: int) -> NoReturn:
    if status == 403:
        raise Refused(403, "The token's role is too small for this; /docs says which one it takes.")
    if "Authorization" in request.headers and (wait := house().failures.take(request.remote_addr or "")):
        raise busy(429, "Too many wrong tokens from this address.", wait + 0.5)
    raise Refused(
        401, "Expected a valid token in the header: Authorization: Bearer <token>.", headers={"WWW-Authenticate": "Bearer"}
    )
