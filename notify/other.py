"""Slack, Teams, e-mail and whatever else Apprise speaks: https://github.com/caronc/apprise/wiki. An optional extra."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any

from notify.message import Kind, Message
from notify.port import NotifyLater, NotifyNever

NEWEST = 6  # lines of a timeline that has moved on
NEEDS = "`uv sync --extra apprise` brings it"
TYPES: dict[Kind, str] = {"success": "success", "failure": "failure", "warning": "warning", "drift": "warning", "info": "info"}


def installed() -> bool:
    """Whether the extra is there."""
    return find_spec("apprise") is not None


class OtherNotifier:
    """Sends to one Apprise address; such services edit nothing, so each move of an incident is a message of its own.

    The address is a secret: it is in no exception and no repr, and Apprise's own log, which may name it, is silent.
    """

    def __init__(self, address: str) -> None:
        """Raises NotifyNever where Apprise is missing or does not know this kind of address."""
        if not installed():
            raise NotifyNever(f"APPRISE_URLS is set, but Apprise is not installed: {NEEDS}")
        from apprise import Apprise

        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        self._service: Any = Apprise()
        if not self._service.add(address):
            raise NotifyNever("an address of APPRISE_URLS is of no kind that Apprise knows")

    def __repr__(self) -> str:
        return "OtherNotifier(***)"

    def send(self, message: Message) -> str | None:
        """Send the whole timeline."""
        self._say(message, message.lines)
        return None

    def edit(self, message_id: str, message: Message) -> str | None:
        """Send the timeline's end: more than one line may be new to this service."""
        self._say(message, message.lines[-NEWEST:])
        return message_id

    def _say(self, message: Message, lines: tuple[str, ...]) -> None:
        facts = [f"{name}: {value}" for name, value in message.fields]
        links = [f"{word}: {url}" for word, url in message.links]
        body = "\n".join([*lines, *facts, *links])
        if not self._service.notify(title=message.title, body=body, notify_type=TYPES[message.kind], body_format="text"):
            raise NotifyLater("a service of APPRISE_URLS did not take the message", 30.0)
