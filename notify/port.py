"""The Notifier port: what workers ask of whatever carries messages to people."""

from __future__ import annotations

from typing import Protocol

from notify.message import Message


class NotifyLater(Exception):
    """It may go through later: too many requests, a server's fault, a timeout, no connection."""

    def __init__(self, reason: str, retry_after: float = 5.0) -> None:
        """`retry_after` is in seconds, as the receiver asked, else a short default."""
        super().__init__(f"{reason}; again in {retry_after:g} s")
        self.reason = reason
        self.retry_after = retry_after


class NotifyNever(Exception):
    """It will never go through: the address is gone, forbidden, or refuses the message."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Notifier(Protocol):
    """Sends messages and edits those it sent; no error of either holds the receiver's address."""

    def send(self, message: Message) -> str | None:
        """Send a new message.

        Returns:
            its id for later edits; None where the receiver gives none.

        Raises:
            NotifyLater: try again after `retry_after` seconds.
            NotifyNever: do not try again.
        """

    def edit(self, message_id: str, message: Message) -> str | None:
        """Replace a message that was sent; if it is gone, send anew. Returns and raises as `send`."""
