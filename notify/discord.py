"""Discord, through a webhook: https://discord.com/developers/docs/resources/webhook#execute-webhook."""

from __future__ import annotations

import json
import logging
import math
from typing import Any
from urllib.parse import quote

import httpx

from notify.message import IMAGE_NAME, Message, embed
from notify.port import NotifyLater, NotifyNever

UNKNOWN_MESSAGE, UNKNOWN_WEBHOOK = 10008, 10015  # Discord's own codes, in the body of a 404
LONGEST_WAIT = 86_400.0  # seconds; a mistaken header must not silence us for ever


class DiscordNotifier:
    """Sends messages to one webhook and edits them there; never pings anyone, follows no redirect.

    The webhook's URL is a secret: it is in no exception, no repr and no log line of this class. A connection
    that breaks between Discord's taking a message and our reading its answer ends in NotifyLater and so in a
    second message: webhooks know no idempotency key.
    """

    def __init__(self, webhook_url: str, timeout: float = 10.0) -> None:
        """`timeout` in seconds holds for connecting, writing and each read."""
        self._url = httpx.URL(webhook_url)
        self._timeout = timeout
        logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it logs each request's URL

    def __repr__(self) -> str:
        return "DiscordNotifier(***)"

    def send(self, message: Message) -> str | None:
        """Post the message; see `Notifier.send`."""
        url = self._url.copy_merge_params({"wait": "true"})
        return _message_id(_accepted(self._exchange("POST", url, message)))

    def edit(self, message_id: str, message: Message) -> str | None:
        """Replace a message; one that was deleted meanwhile is sent anew. See `Notifier.edit`."""
        url = self._url.copy_with(path=f"{self._url.path.rstrip('/')}/messages/{quote(message_id, safe='')}")
        answer = self._exchange("PATCH", url, message)
        if answer.status_code == 404 and _body(answer).get("code") == UNKNOWN_MESSAGE:
            return self.send(message)
        return _message_id(_accepted(answer)) or message_id

    def _exchange(self, method: str, url: httpx.URL, message: Message) -> httpx.Response:
        try:
            # One client a call: it may run in any of a worker's forked children, and messages are rare.
            with httpx.Client(timeout=self._timeout, follow_redirects=False) as client:
                return client.request(method, url, **_content(message))
        except httpx.HTTPError as error:
            fault = type(error).__name__
        # Raised out here, so that the exception does not carry httpx's, which holds the URL.
        raise NotifyLater(f"Discord could not be reached ({fault})")


def _content(message: Message) -> dict[str, Any]:
    """The request's body: JSON, or multipart with the image; its attachments replace earlier ones."""
    payload = {
        "embeds": [embed(message)],
        "allowed_mentions": {"parse": []},
        "attachments": _attached(message),
    }
    if message.image is None:
        return {"json": payload}
    return {
        "data": {"payload_json": json.dumps(payload)},
        "files": {"files[0]": (IMAGE_NAME, message.image, "image/png")},
    }


def _attached(message: Message) -> list[dict[str, Any]]:
    return [] if message.image is None else [{"id": 0, "filename": IMAGE_NAME}]


def _accepted(answer: httpx.Response) -> httpx.Response:
    """The answer, if Discord took the message.

    Raises:
        NotifyLater: too many requests, or a fault of the server's.
        NotifyNever: anything else: gone, forbidden, refused, redirected.
    """
    status, code = answer.status_code, _body(answer).get("code")
    if answer.is_success:
        return answer
    if status in (408, 429) or status >= 500:
        raise NotifyLater(f"Discord answered {status}", _retry_after(answer))
    if status == 404 and code == UNKNOWN_WEBHOOK:
        raise NotifyNever("the Discord webhook is gone (404, code 10015); set DISCORD_WEBHOOK_URL anew")
    if answer.is_redirect:
        raise NotifyNever(f"Discord's address answered with a redirect ({status}), which is not followed")
    detail = f", code {code}" if isinstance(code, int) else ""
    raise NotifyNever(f"Discord refused the message ({status}{detail})")


def _message_id(answer: httpx.Response) -> str | None:
    found = _body(answer).get("id")
    return found if isinstance(found, str) else None


def _body(answer: httpx.Response) -> dict[str, Any]:
    """The answer's JSON object; empty if it holds none (204, or a proxy's HTML page)."""
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _retry_after(answer: httpx.Response, default: float = 5.0) -> float:
    """Seconds to wait, from the body (exact), else the header, else `default`; 0 to a day."""
    given = _body(answer).get("retry_after", answer.headers.get("Retry-After"))
    seconds = _number(given)
    return default if seconds is None else min(max(seconds, 0.0), LONGEST_WAIT)


def _number(given: object) -> float | None:
    """A finite number, or None: a Retry-After may also be a date, and a body may hold anything."""
    try:
        number = float(str(given))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
