"""A push monitor, played by a real HTTP server."""

import socket

import pytest

from notify.uptime import NotTold, push
from tests.notify.webhook import TOKEN, Answer, webhook


def test_a_push_says_that_all_is_well() -> None:
    """One GET, with what Uptime Kuma's push monitors read."""
    with webhook() as monitor:
        push(f"{monitor.url}?ping=")
        [seen] = monitor.seen
    assert seen.method == "GET" and "status=up" in seen.path and "msg=checked" in seen.path


def test_what_the_monitor_did_not_take_is_said_without_its_address() -> None:
    """An error, a redirect (which is not followed), and nobody there."""
    with webhook() as monitor:
        monitor.answers = [Answer(404), Answer(302, headers={"Location": "http://elsewhere.test/"})]
        for said in ("it answered 404", "it answered 302"):
            with pytest.raises(NotTold, match=said):
                push(monitor.url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotTold) as fault:
        push(f"http://127.0.0.1:{port}/{TOKEN}")
    assert TOKEN not in str(fault.value) and fault.value.__cause__ is None
