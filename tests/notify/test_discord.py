"""The Discord adapter against a real HTTP server that plays Discord."""

import logging
import socket
import traceback
from collections.abc import Iterator
from dataclasses import replace

import pytest

from notify.discord import DiscordNotifier
from notify.message import Message, embed
from notify.port import Notifier, NotifyLater, NotifyNever
from tests.notify.webhook import TOKEN, Answer, Webhook, webhook

HELLO = Message("info", "hello", ("first",), (), None, 0.0)
UNREACHABLE = "Discord could not be reached"


@pytest.fixture(name="discord")
def _discord() -> Iterator[Webhook]:
    with webhook() as played:
        yield played


def test_sending_posts_one_embed_that_pings_nobody_and_gives_the_id(discord: Webhook) -> None:
    """One POST with ?wait=true; the id in the answer is the message's."""
    discord.answers = [Answer(200, {"id": "42"})]
    notifier: Notifier = DiscordNotifier(discord.url)
    assert notifier.send(HELLO) == "42"
    [seen] = discord.seen
    assert (seen.method, seen.path) == ("POST", f"/api/webhooks/123/{TOKEN}?wait=true")
    assert seen.payload == {"embeds": [embed(HELLO)], "allowed_mentions": {"parse": []}, "attachments": []}


def test_an_answer_without_a_body_is_a_success_without_an_id(discord: Webhook) -> None:
    """204, as Discord answers where ?wait is not understood."""
    discord.answers = [Answer(204)]
    assert DiscordNotifier(discord.url).send(HELLO) is None


def test_editing_patches_the_message_in_its_thread(discord: Webhook) -> None:
    """PATCH …/messages/ID; a thread_id in the webhook's URL stays with it."""
    assert DiscordNotifier(f"{discord.url}?thread_id=7").edit("42", HELLO) == "1001"
    [seen] = discord.seen
    assert (seen.method, seen.path) == ("PATCH", f"/api/webhooks/123/{TOKEN}/messages/42?thread_id=7")
    assert seen.payload["allowed_mentions"] == {"parse": []}


def test_a_message_that_was_deleted_is_sent_anew(discord: Webhook) -> None:
    """404 with code 10008 to an edit leads to a POST, whose id is the new one."""
    discord.answers = [Answer(404, {"code": 10008, "message": "Unknown Message"}), Answer(200, {"id": "43"})]
    assert DiscordNotifier(discord.url).edit("42", HELLO) == "43"
    assert [seen.method for seen in discord.seen] == ["PATCH", "POST"]


def test_an_image_travels_as_an_attachment(discord: Webhook) -> None:
    """The PNG is a part of the multipart body, and the embed shows it."""
    png = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    DiscordNotifier(discord.url).send(replace(HELLO, image=png))
    [seen] = discord.seen
    assert seen.parts["files[0]"] == png
    assert seen.payload["embeds"][0]["image"] == {"url": "attachment://accuracy.png"}
    assert seen.payload["attachments"] == [{"id": 0, "filename": "accuracy.png"}]


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (Answer(429, {"retry_after": 0.75, "global": False}, {"Retry-After": "1"}), 0.75),
        (Answer(429, b"slow down", {"Retry-After": "12"}), 12.0),
        (Answer(429, {"retry_after": "soon"}), 5.0),
        (Answer(429, {"retry_after": -3}), 0.0),
        (Answer(429, {"retry_after": 1e12}), 86_400.0),
        (Answer(500), 5.0),
        (Answer(503, b"<html>", {"Retry-After": "30"}), 30.0),
    ],
)
def test_too_many_requests_and_server_faults_are_for_later(discord: Webhook, answer: Answer, seconds: float) -> None:
    """The time to wait is the one that Discord names, in the body before the header, within a day."""
    discord.answers = [answer]
    with pytest.raises(NotifyLater) as caught:
        DiscordNotifier(discord.url).send(HELLO)
    assert caught.value.retry_after == seconds
    assert len(discord.seen) == 1


def test_a_server_that_hangs_is_for_later(discord: Webhook) -> None:
    """No answer within the timeout ends the call."""
    discord.answers = [Answer(200, delay=0.5)]
    with pytest.raises(NotifyLater, match=UNREACHABLE):
        DiscordNotifier(discord.url, timeout=0.1).send(HELLO)


def test_a_server_that_is_not_there_is_for_later() -> None:
    """A refused connection ends the call."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(NotifyLater, match=UNREACHABLE):
            DiscordNotifier(f"http://127.0.0.1:{taken.getsockname()[1]}/{TOKEN}", timeout=1.0).send(HELLO)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(404, {"code": 10015, "message": "Unknown Webhook"}), "gone"),
        (Answer(404), "404"),
        (Answer(401), "401"),
        (Answer(403, {"code": 50013}), "403, code 50013"),
        (Answer(400, {"code": 50006}), "400, code 50006"),
    ],
)
def test_a_refusal_is_final(discord: Webhook, answer: Answer, reason: str) -> None:
    """A webhook that is gone or forbidden, or a message refused, is not tried again."""
    discord.answers = [answer]
    with pytest.raises(NotifyNever, match=reason):
        DiscordNotifier(discord.url).send(HELLO)
    assert len(discord.seen) == 1


def test_a_redirect_is_not_followed(discord: Webhook) -> None:
    """The way into the network that a redirect would open stays shut."""
    discord.answers = [Answer(307, headers={"Location": "/inside"})]
    with pytest.raises(NotifyNever, match="redirect"):
        DiscordNotifier(discord.url).send(HELLO)
    assert [seen.path for seen in discord.seen] == [f"/api/webhooks/123/{TOKEN}?wait=true"]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(429),
        Answer(500),
        Answer(404, {"code": 10015}),
        Answer(400),
        Answer(307),
        Answer(200, delay=0.3),
        None,
    ],
    ids=["429", "500", "gone", "refused", "redirect", "hang", "nobody"],
)
def test_the_url_is_in_no_error_and_no_log(discord: Webhook, answer: Answer | None, caplog: pytest.LogCaptureFixture) -> None:
    """No error with all that caused it, no repr and no library's log at DEBUG holds the secret."""
    caplog.set_level(logging.DEBUG)
    discord.answers = [answer] if answer else []
    url = discord.url if answer else f"http://127.0.0.1:1/{TOKEN}"
    notifier = DiscordNotifier(url, timeout=0.1)
    with pytest.raises((NotifyLater, NotifyNever)) as caught:
        notifier.send(HELLO)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(notifier) + caplog.text
    assert TOKEN not in told


def test_a_success_logs_no_url(discord: Webhook, caplog: pytest.LogCaptureFixture) -> None:
    """Httpx would log each request's URL at INFO."""
    caplog.set_level(logging.DEBUG)
    DiscordNotifier(discord.url).send(HELLO)
    assert TOKEN not in caplog.text
