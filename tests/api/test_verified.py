"""Tokens are remembered for a second: never longer, never beyond their end, and not beyond a revocation."""

from __future__ import annotations

import pytest

from api.verified import FRESH_S, ROLES, Caller, Verified, hash_of, includes
from storage import tokens
from storage.database import Database
from storage.tokens import Token

DIGEST = hash_of("secret")


class Clocks:
    """Wall clock and steady clock, both a test's."""

    wall, steady = 1_000.0, 50.0


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def verified(database: Database, clocks: Clocks) -> Verified:
    with database.begin() as tx:
        tokens.add(tx, Token("t1", "ci", "client", DIGEST, 1.0, 1_000.5))
    return Verified(database, "the-key", lambda: clocks.wall, lambda: clocks.steady)


def revoke(database: Database) -> None:
    with database.begin() as tx:
        assert tokens.remove(tx, "t1")


def test_the_ledger_is_asked_once_a_second(verified: Verified, database: Database, clocks: Clocks) -> None:
    """Revoked by another process: known within FRESH_S."""
    assert verified.at_hand(DIGEST) is None
    assert verified.caller(DIGEST) == Caller("t1", "ci", "client")
    revoke(database)
    clocks.steady += FRESH_S * 0.99
    assert verified.caller(DIGEST) == verified.at_hand(DIGEST) == Caller("t1", "ci", "client")
    clocks.steady += FRESH_S * 0.02
    assert verified.caller(DIGEST) is None


def test_a_token_ends_to_the_moment(verified: Verified, clocks: Clocks) -> None:
    """Its end is looked at each time, however fresh the answer is."""
    assert verified.caller(DIGEST)
    clocks.wall = 1_000.5
    assert verified.caller(DIGEST) is None


def test_a_revocation_here_holds_at_once(verified: Verified, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a request had just read the token while it was revoked: that answer is not kept."""
    assert verified.caller(DIGEST)
    find = tokens.find

    def read_then_revoked(tx: object, digest: str) -> Token | None:
        token = find(tx, digest)  # type: ignore[arg-type]
        revoke(database)
        verified.forget()
        return token

    verified.forget()
    with monkeypatch.context() as patch:
        patch.setattr(tokens, "find", read_then_revoked)
        assert verified.caller(DIGEST)  # this one request came first
    assert verified.caller(DIGEST) is None


def test_the_key_needs_no_ledger_and_a_wrong_secret_is_nobodys(verified: Verified) -> None:
    """What is unknown is never remembered."""
    assert verified.at_hand(hash_of("the-key")) == Caller("api_key", "API_KEY", "admin")
    assert verified.caller(hash_of("wrong")) is None
    assert verified._seen == {}


def test_roles_include_the_smaller_ones_and_an_unknown_one_nothing() -> None:
    """Fail closed."""
    assert [[includes(mine, wanted) for wanted in ROLES] for mine in ROLES] == [[n <= m for n in range(4)] for m in range(4)]
    assert not any(includes("owner", wanted) for wanted in ROLES)
