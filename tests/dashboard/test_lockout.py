"""The door's memory, on a clock that tests own."""

from __future__ import annotations

from dashboard.lockout import FREE_TRIES, LONGEST_OF_ALL_S, LONGEST_WAIT_S, SESSION_S, TRIES_OF_ALL, Lockout, Sessions


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_waits_double_from_the_fifth_wrong_password_and_end_at_a_quarter_of_an_hour() -> None:
    """1, 2, 4 … s; another address waits for nothing; the right password forgives."""
    clock = Clock()
    lockout, waits = Lockout(clock), []
    for _ in range(FREE_TRIES + 12):
        lockout.failed("a")
        waits.append(lockout.wait_s("a"))
    assert waits[: FREE_TRIES + 3] == [0.0] * (FREE_TRIES - 1) + [1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == LONGEST_WAIT_S
    assert lockout.wait_s("b") == 0.0
    clock.now += LONGEST_WAIT_S
    assert lockout.wait_s("a") == 0.0
    lockout.succeeded("a")
    lockout.failed("a")
    assert lockout.wait_s("a") == 0.0


def test_many_addresses_together_make_everybody_wait_but_never_long() -> None:
    """One guess each from a thousand addresses: a new one waits too, at most half a minute."""
    lockout = Lockout(Clock())
    for n in range(TRIES_OF_ALL - 1):
        lockout.failed(f"address {n}")
    assert lockout.wait_s("new") == 0.0
    for n in range(1000):
        lockout.failed(f"other {n}")
    assert lockout.wait_s("new") == LONGEST_OF_ALL_S


def test_failures_are_forgotten_after_a_quiet_hour() -> None:
    """The next wrong password is a first one again."""
    clock = Clock()
    lockout = Lockout(clock)
    for _ in range(FREE_TRIES):
        lockout.failed("a")
    clock.now += 3700
    lockout.failed("a")
    assert lockout.wait_s("a") == 0.0


def test_a_session_ends_when_it_is_over_or_left_and_a_made_up_one_never_began() -> None:
    """Twelve hours, or a logout; two sessions are independent of each other."""
    clock = Clock()
    sessions = Sessions("right", clock)
    (one, until), (two, _) = sessions.begin(), sessions.begin()
    assert until == clock.now + SESSION_S
    assert (sessions.is_open(one), sessions.is_open(two), sessions.is_open("made up"), sessions.is_open("")) == (
        True,
        True,
        False,
        False,
    )
    sessions.end(one)
    assert (sessions.is_open(one), sessions.is_open(two)) == (False, True)
    clock.now += SESSION_S
    assert not sessions.is_open(two)


def test_only_the_password_is_the_password() -> None:
    """Neither a part of it, nor nothing, nor what cannot be encoded."""
    sessions = Sessions("pässword", Clock())
    assert sessions.is_password("pässword")
    assert not any(sessions.is_password(wrong) for wrong in ("", "pässwor", "pässword ", "\udcff", "x" * 4000))
