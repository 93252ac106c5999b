"""Speaking to a broker without waiting for its answer: when that is done, and what is noticed afterwards."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from jobs.bell import Bell
from jobs.line import BROKER_FAULTS, SHORT, Line
from tests.workers.broker import own_broker


@pytest.fixture
def broker() -> Iterator[str]:
    with own_broker() as url:
        yield url


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_command_is_sent_at_once_while_no_answer_is_owed(broker: str) -> None:
    """What was said arrives in order; a long word, or one behind an unanswered one, is left to somebody who can wait."""
    line, seen = Line(broker), redis.Redis.from_url(broker)
    assert not line.say("RPUSH", "said", "0")  # not connected yet
    line.ask("RPUSH", "said", "1")
    assert line.say("RPUSH", "said", "2")
    until(lambda: seen.llen("said") == 2)
    until(lambda: line.say("RPUSH", "said", "3"))
    line.ask("RPUSH", "said", "4")
    assert seen.lrange("said", 0, -1) == [b"1", b"2", b"3", b"4"]
    assert not line.say("RPUSH", "said", "x" * SHORT)


def test_nobody_waits_for_a_stopped_broker(broker: str) -> None:
    """The second word finds the first unanswered and is not sent; when the broker goes on, what was sent is there."""
    line, seen = Line(broker), redis.Redis.from_url(broker)
    line.ask("PING")
    pid = int(seen.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert line.say("RPUSH", "said", "1")
        assert not line.say("RPUSH", "said", "2")
        assert time.monotonic() - began < 1
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: line.say("RPUSH", "said", "3"))
    until(lambda: seen.lrange("said", 0, -1) == [b"1", b"3"])


def test_a_broken_connection_is_made_anew(broker: str) -> None:
    """The broker has closed it: whoever speaks at once is told, whoever asks does not notice."""
    line, seen = Line(broker), redis.Redis.from_url(broker)
    line.ask("PING")
    seen.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(BROKER_FAULTS):
        line.say("RPUSH", "said", "1")
    line.ask("RPUSH", "said", "2")
    seen.client_kill_filter(_type="normal", skipme=True)
    line.ask("RPUSH", "said", "3")
    assert seen.lrange("said", 0, -1) == [b"2", b"3"]


def test_what_the_broker_refuses_is_noticed_at_the_next_word(broker: str) -> None:
    """A full broker takes nothing: the answer to the first word says so, and the connection is made anew."""
    line = Line(broker)
    line.ask("SET", "text", "no list")
    assert line.say("RPUSH", "text", "1")
    with pytest.raises(redis.ResponseError):
        until(lambda: line.say("PING"))
    line.ask("PING")


def test_a_bell_rings_from_whoever_rings_and_from_its_thread_alike(broker: str) -> None:
    """Every announcement arrives, those that were said at once and those that had to wait, also over a broken connection."""
    told: list[str] = []
    bell, seen = Bell(broker, told.append), redis.Redis.from_url(broker)
    heard = redis.Redis.from_url(broker).pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    heard.subscribe("continual.done")
    until(lambda: seen.pubsub_numsub("continual.done")[0][1] == 1)
    for n in range(300):
        bell.announce([str(n)])
        if n == 150:
            until(bell._waiting.empty)
            time.sleep(0.05)
            seen.client_kill_filter(_type="normal", skipme=True)
    bell.close()
    got: set[str] = set()
    end = time.monotonic() + 10
    while len(got) < 300 and time.monotonic() < end:
        message = heard.get_message(timeout=0.1)
        if message:
            got.add(message["data"].decode())
    assert len(got) >= 299 and not told  # one may have been in the connection that broke: the sweeper rings again
