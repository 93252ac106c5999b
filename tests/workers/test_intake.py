"""What a worker takes off a queue on a real broker: doorbells, whatever else was pushed there."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis
from kombu import Connection, Consumer, Queue

from jobs.app import make_app
from jobs.bell import grouped, publish
from jobs.kinds import QUEUES, TICK
from jobs.line import ringer
from jobs.messages import Heard, celery_message, heard
from tests.workers.broker import own_broker
from workers.intake import Transport

JOB = str(uuid.uuid4())
JUNK = [
    b"\x00\xff",
    b"{}",
    b"[]",
    b"null",
    b"7",
    b"[" * 100_000,
    b'{"__type__": "datetime", "__value__": "never"}',
    b'{"__type__": "uuid", "__value__": {"hex": 7}}',
    b'{"body": "####", "headers": {"task": "predict", "id": "1"}, "properties": {}}',
    b'{"body": "e30=", "headers": {}, "properties": {}}',
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with own_broker() as found:
        yield found


def taken(url: str, *queues: str) -> dict[str, list[Any]]:
    """(body, headers) of each message that a worker's transport hands on, by queue."""
    found: dict[str, list[Any]] = {queue: [] for queue in queues}

    def note(body: Any, message: Any) -> None:
        message.ack()
        found[message.delivery_info["routing_key"]].append((body, message.headers))

    with (
        Connection(url, transport=Transport) as connection,
        Consumer(connection, [Queue(queue) for queue in queues], callbacks=[note]),
        suppress(TimeoutError),
    ):
        while True:
            connection.drain_events(timeout=1.5)
    return found


def test_junk_is_dropped_and_the_doorbell_behind_it_is_heard(url: str) -> None:
    broker = redis.Redis.from_url(url)
    broker.flushall()
    for queue in QUEUES:
        broker.lpush(queue, *JUNK)
        publish(ringer(url), grouped([(queue, "generate", JOB)])[0], "request-1")
    for heard_there in taken(url, *QUEUES).values():
        [(body, headers)] = heard_there
        assert (body[0], headers["task"], headers["request_id"]) == ([[JOB]], "generate", "request-1")
    assert broker.hlen("unacked") == 0  # nothing is left that could come back


def test_of_a_forged_doorbell_only_its_words_are_handed_on(url: str) -> None:
    """A time limit, an expiry, a chain of further tasks: none of a sender's other headers reaches Celery."""
    forged: Any = celery_message(Heard("predict", JOB, (JOB,), None), "predict")
    forged["headers"] |= {"timelimit": "x", "expires": {}, "eta": 7, "reply_to": [], "retries": "many", "stamps": 1}
    forged["properties"] = {"delivery_tag": ["x"], "delivery_info": None, "reply_to": 9}
    broker = redis.Redis.from_url(url)
    broker.flushall()
    broker.lpush("predict", json.dumps(forged))
    [(body, headers)] = taken(url, "predict")["predict"]
    assert body[0] == [[JOB]]
    assert set(headers) == {"lang", "task", "id", "root_id", "retries", "ignore_result", "version"}
    assert headers["retries"] == 0


@pytest.mark.parametrize("task", ["predict", TICK])
def test_what_celery_itself_sends_is_a_doorbell(url: str, task: str) -> None:
    broker, app = redis.Redis.from_url(url), make_app(url)
    broker.flushall()
    app.send_task(task, args=[[JOB]] if task != TICK else [], queue="checks")
    said = heard(json.loads(broker.rpop("checks") or b""))  # type: ignore[arg-type]
    assert said is not None
    assert (said.task, said.job_ids) == (task, (JOB,) if task != TICK else ())


@pytest.mark.parametrize("wrong", [{"task": "os.system"}, {"task": 7}, {"id": "../x"}, {"id": None}, {"request_id": []}])
def test_a_message_with_a_wrong_header_is_no_doorbell(wrong: dict[str, Any]) -> None:
    message: Any = celery_message(Heard("predict", JOB, (JOB,), None), "predict")
    assert heard(message) is not None
    message["headers"] |= wrong
    assert heard(message) is None
