"""Notifiers that need no network: one remembers what it was sent, one writes it to the log."""

from __future__ import annotations

from collections.abc import Callable

from notify.message import Message


class RecordingNotifier:
    """Keeps what it was sent, in memory.

    Attributes:
        calls: every call in order: ("send" | "edit", message id, message).
        messages: by id, each message as a reader would see it now.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Message]] = []
        self.messages: dict[str, Message] = {}

    def send(self, message: Message) -> str | None:
        """Keep a new message; ids count from "1"."""
        message_id = str(len(self.messages) + 1)
        return self._keep("send", message_id, message)

    def edit(self, message_id: str, message: Message) -> str | None:
        """Replace a message; an unknown id is sent anew."""
        if message_id not in self.messages:
            return self.send(message)
        return self._keep("edit", message_id, message)

    def _keep(self, call: str, message_id: str, message: Message) -> str:
        self.calls.append((call, message_id, message))
        self.messages[message_id] = message
        return message_id


class LogNotifier:
    """Writes each message as one log line, for a service without a webhook."""

    def __init__(self, write: Callable[[str], None]) -> None:
        """`write` takes one line, for example a logger's `info`."""
        self._write = write

    def send(self, message: Message) -> str | None:
        """Log the whole timeline."""
        self._log(message, message.lines)
        return None

    def edit(self, message_id: str, message: Message) -> str | None:
        """Log what is new: the timeline's last line."""
        self._log(message, message.lines[-1:])
        return message_id

    def _log(self, message: Message, lines: tuple[str, ...]) -> None:
        fields = (f"{name}: {value}" for name, value in message.fields)
        said = " · ".join((message.title, *lines, *fields, *(url for _, url in message.links[:1])))
        self._write(f"notification [{message.kind}] {' '.join(said.split())}")
