"""A line to the broker on which one may speak without waiting for the answer.

Whoever rings in the middle of work cannot wait for a broker that has stopped, and a thread that does it for them costs two
switches. So a command is sent at once where that cannot block: while the broker owes no answer, the socket's buffer is empty.
Its answer is read before the next command.
"""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

BROKER_FAULTS = (redis.RedisError, OSError)
PATIENCE_S = 2  # with a broker that does not answer
SHORT = 8 << 10  # bytes that any socket's buffer takes while it is empty


def ringer(redis_url: str) -> redis.Redis:
    """A client for those who only ring: they must never hang on a stopped broker, since the sweeper rings again."""
    once_more = Retry(NoBackoff(), 1)  # the broker may have been started afresh since the last ring
    patience = {"socket_timeout": PATIENCE_S, "socket_connect_timeout": PATIENCE_S}
    return redis.Redis.from_url(redis_url, **patience, socket_keepalive=True, retry=once_more)


class Line:
    """One connection to the broker; for one thread at a time."""

    def __init__(self, redis_url: str) -> None:
        """Connects at the first `ask`."""
        self._pool = ringer(redis_url).connection_pool
        self._connection: Any = None
        self._owed = False

    def say(self, *command: bytes | str) -> bool:
        """Send a short command at once; False if that might block, and nothing was sent.

        Raises:
            any of BROKER_FAULTS: the connection is broken, or the broker has refused the command before this one.
        """
        if self._connection is None or sum(map(len, command)) > SHORT:
            return False
        try:
            if self._connection.can_read(timeout=0):  # an answer, or the end of the connection
                self._hear()
            if self._owed:
                return False
            self._connection.send_command(*command)
        except BROKER_FAULTS:
            self._hang_up()
            raise
        self._owed = True
        return True

    def ask(self, *command: bytes | str) -> None:
        """Send a command and wait for its answer, once more on a new connection if this one is broken.

        Raises:
            any of BROKER_FAULTS: the broker did not take it.
        """
        known = self._connection is not None
        try:
            self._ask(*command)
        except BROKER_FAULTS as fault:
            self._hang_up()
            if not known or isinstance(fault, redis.TimeoutError):
                raise
            self.ask(*command)

    def _ask(self, *command: bytes | str) -> None:
        if self._connection is None:
            self._connection = self._pool.get_connection()
        if self._owed:
            self._hear()
        self._connection.send_command(*command)
        self._hear()

    def _hear(self) -> None:
        self._connection.read_response()
        self._owed = False

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._pool.release(self._connection)
        self._connection, self._owed = None, False
