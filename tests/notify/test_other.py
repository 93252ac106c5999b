"""Apprise, speaking to a real HTTP server as it would to any webhook."""

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from notify.message import Message
from notify.other import OtherNotifier
from notify.port import Notifier, NotifyLater, NotifyNever
from tests.notify.webhook import Answer, Webhook, webhook

DRIFT = Message(
    "drift", "Drift in default", ("alarm", "v1 → v2"), (("state", "resolved"),), "default", 0.0, (("API", "http://x"),)
)


@pytest.fixture(name="service")
def _service() -> Iterator[Webhook]:
    with webhook() as played:
        yield played


def address(service: Webhook) -> str:
    return service.url.replace("http://", "json://")


def test_a_message_arrives_with_its_timeline_and_a_move_of_it_with_the_end_of_that(service: Webhook) -> None:
    """Such services edit nothing, so an edit is a further message, shorter where the timeline is long."""
    notifier: Notifier = OtherNotifier(address(service))
    assert notifier.send(DRIFT) is None
    assert notifier.edit("7", replace(DRIFT, kind="success", lines=tuple("abcdefgh"))) == "7"
    first, second = (seen.payload for seen in service.seen)
    assert (first["title"], first["type"]) == ("Drift in default", "warning")
    assert first["message"] == "alarm\nv1 → v2\nstate: resolved\nAPI: http://x"
    assert (second["message"], second["type"]) == ("c\nd\ne\nf\ng\nh\nstate: resolved\nAPI: http://x", "success")


def test_what_the_service_did_not_take_is_for_later(service: Webhook, caplog: pytest.LogCaptureFixture) -> None:
    """A 500 ends in NotifyLater, and the address is in no word of it."""
    service.answers = [Answer(500)]
    with pytest.raises(NotifyLater) as later:
        OtherNotifier(address(service)).send(DRIFT)
    assert "api/webhooks" not in f"{later.value} {caplog.text} {OtherNotifier(address(service))!r}"


def test_a_service_that_is_gone_is_for_later() -> None:
    """Nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotifyLater):
        OtherNotifier(f"json://127.0.0.1:{port}/hook").send(DRIFT)


def test_an_address_of_no_known_kind_is_refused_without_being_named() -> None:
    """The sentence says which setting is wrong, not what stands in it."""
    with pytest.raises(NotifyNever, match="an address of APPRISE_URLS is of no kind") as never:
        OtherNotifier("nonsense-s3cret")
    assert "s3cret" not in str(never.value)
