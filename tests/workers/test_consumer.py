"""What Flower is told: all that happens, and seldom."""

from __future__ import annotations

from typing import Any

import pytest
from celery.worker.consumer import Consumer as PlainConsumer

from workers.consumer import TOLD_EVERY_S, Consumer


class Hub:
    """Celery's event loop, as far as it is asked to do something later; `turn` does it."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def call_later(self, delay: float, what: Any) -> None:
        assert delay == TOLD_EVERY_S
        self.asked.append(what)

    def turn(self) -> None:
        while self.asked:
            self.asked.pop()()


class Dispatcher:
    """Celery's buffer of events."""

    buffer_limit = 24

    def __init__(self) -> None:
        self.flushed = 0

    def flush(self) -> None:
        self.flushed += 1


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A consumer at 0 s by its clock, which is `told.now[0]`."""
    made: Any = Consumer.__new__(Consumer)
    made.hub, made.event_dispatcher, made.now = Hub(), Dispatcher(), [0.0]
    monkeypatch.setattr("workers.consumer.time.monotonic", lambda: made.now[0])
    return made


def test_a_hundred_messages_in_a_moment_are_told_of_once(told: Any) -> None:
    for _ in range(300):
        told.on_send_event_buffered()
    assert len(told.hub.asked) == 1
    assert told.event_dispatcher.buffer_limit > 300
    told.hub.turn()
    assert told.event_dispatcher.flushed == 1


def test_what_a_lost_connection_has_forgotten_to_tell_is_told_with_the_next(told: Any) -> None:
    told.on_send_event_buffered()
    told.hub.asked.clear()
    told.now[0] += TOLD_EVERY_S
    told.on_send_event_buffered()
    told.hub.turn()
    assert told.event_dispatcher.flushed == 1


def test_a_stop_leaves_nothing_untold(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlainConsumer, "stop", lambda _: None)
    told.on_send_event_buffered()
    told.stop()
    assert told.event_dispatcher.flushed == 1
