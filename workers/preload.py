"""Before a challenger is promoted, every worker that predicts has it in memory: a swap then waits for no file.

The trainer names the version's file on a channel of the broker and waits a moment for the workers to answer. All of it is
best effort: who has not loaded it by then does so at its next task. A file is loaded under its hash, and served only if
the ledger names that hash: a forged message is at most an idle load of a file that the trust list lets in.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable

import msgspec
import redis
from loguru import logger

from workers.room import Room

CHANNEL = "continual.preload"
WAIT_S = 3.0  # for the slowest worker; a forest of 100 trees loads in a fraction of a second
KEPT_S = 60  # how long the broker keeps the answers
RECONNECT_S = 1.0


class Preload(msgspec.Struct, frozen=True):
    """A file to load, and the key under which to say so."""

    artifact: str
    sha256: str
    answer: str


def everywhere(room: Room, artifact: str, sha256: str, wait_s: float = WAIT_S) -> bool:
    """Have every predicting worker load a file. False if one did not say so within `wait_s` seconds, or the broker is away."""
    asked = Preload(artifact, sha256, f"{CHANNEL}.{uuid.uuid4()}")
    end = time.monotonic() + wait_s
    try:
        with redis.Redis.from_url(room.settings.redis_url, socket_timeout=2, socket_connect_timeout=2) as broker:
            listening = int(broker.publish(CHANNEL, msgspec.json.encode(asked)))
            while (answered := int(broker.get(asked.answer) or 0)) < listening and time.monotonic() < end:
                time.sleep(0.02)
    except redis.RedisError as fault:
        logger.debug("nobody was asked to preload: {}", type(fault).__name__)
        return False
    if answered < listening:
        logger.info("{} of {} workers have loaded {} beforehand", answered, listening, artifact)
    return answered >= listening


class Preloader:
    """Listens for files to load, on a thread of its own.

    Args:
        load: brings the file `(artifact, sha256)` into memory; may raise anything.
    """

    def __init__(self, redis_url: str, load: Callable[[str, str], object]) -> None:
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=5, socket_connect_timeout=2, health_check_interval=5)
        self._load = load
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="preload", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no longer."""
        self._stop.set()
        self._thread.join(timeout=3)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._redis.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
                    channel.subscribe(CHANNEL)
                    self._listen(channel)
            except (redis.RedisError, OSError) as fault:
                logger.debug("no preloading while the broker is away: {}", type(fault).__name__)
                self._stop.wait(RECONNECT_S)

    def _listen(self, channel: redis.client.PubSub) -> None:
        while not self._stop.is_set():
            message = channel.get_message(timeout=1.0)
            if message is not None:
                self._answer(message["data"])

    def _answer(self, data: bytes) -> None:
        try:
            asked = msgspec.json.decode(data, type=Preload)
            self._load(asked.artifact, asked.sha256)
        except Exception as fault:  # noqa: BLE001 - junk, or a file that is refused: whoever serves it will tell
            logger.warning("a file was not loaded beforehand: {}: {}", type(fault).__name__, fault)
            return
        if asked.answer.startswith(CHANNEL):
            self._redis.incr(asked.answer)
            self._redis.expire(asked.answer, KEPT_S)
