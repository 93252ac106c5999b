"""The message that we write ourselves: Celery has to read it as if it had sent it."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery
from celery.contrib.testing.worker import start_worker

from jobs.app import make_app
from jobs.bell import publish
from jobs.kinds import PREDICT
from jobs.line import ringer
from jobs.messages import VERSION, Heard, Ring, celery_message, heard
from tests.workers.broker import own_broker


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with own_broker() as url:
        yield url


def ring(count: int) -> Ring:
    return Ring(PREDICT, "predict", tuple(str(uuid.uuid4()) for _ in range(count)))


def parts(raw: Any) -> dict[str, Any]:
    """A message as one flat mapping, but for its delivery tag, which is a fresh id."""
    message = json.loads(raw)
    body = json.loads(base64.b64decode(message.pop("body")))
    flat = {**message, **message.pop("headers"), **message.pop("properties"), "body": body}
    return {key: value for key, value in flat.items() if key not in {"headers", "properties", "delivery_tag"}}


@pytest.mark.parametrize("request_id", [None, "mine-1"])
def test_it_says_nothing_but_what_celery_would_have_said(broker: str, request_id: str | None) -> None:
    """The same task, id, argument, headers and routing; Celery has more keys, none of which a worker needs."""
    ours, line = ring(1), ringer(broker)
    publish(line, ours, request_id)
    headers = {"request_id": request_id} if request_id else None
    app = make_app(broker)
    app.send_task("predict", args=[list(ours.job_ids)], task_id=ours.task_id, queue=PREDICT, headers=headers, ignore_result=True)
    theirs, mine = (parts(raw) for raw in line.lrange(PREDICT, 0, -1))
    line.delete(PREDICT)
    app.close()
    assert mine.pop("version") == VERSION
    assert mine == {key: theirs[key] for key in mine}
    assert {"task", "id", "body", "delivery_info"} <= mine.keys()


def test_a_worker_of_celerys_carries_it_out(broker: str) -> None:
    """Consumed by a real worker: the ids arrive as the task's argument, the request's id as its header; nothing is left over."""
    app: Celery = make_app(broker, worker_concurrency=1)
    seen: list[tuple[Any, ...]] = []

    @app.task(name="predict", bind=True)
    def task(self: Any, job_ids: list[str]) -> None:
        seen.append((self.request.id, job_ids, self.request.headers["request_id"]))

    sent = ring(3)
    line = ringer(broker)
    with start_worker(app, pool="solo", perform_ping_check=False, queues=[PREDICT], shutdown_timeout=20):
        publish(line, sent, "mine-2")
        end = time.monotonic() + 20
        while not seen and time.monotonic() < end:
            time.sleep(0.05)
    assert len(seen) == 1
    task_id, job_ids, request_id = seen[0]
    assert (job_ids, request_id) == (list(sent.job_ids), "mine-2")
    assert task_id == str(uuid.UUID(task_id))
    assert redis.Redis.from_url(broker).llen(PREDICT) == 0


def test_a_message_without_a_version_is_understood_and_one_of_a_newer_release_is_left() -> None:
    """Releases work side by side during an upgrade: the old form stays readable, the unknown one is not guessed at."""
    said = Heard("predict", str(uuid.uuid4()), (str(uuid.uuid4()),), None)
    message: Any = celery_message(said, PREDICT)
    assert heard(message) == said
    del message["headers"]["version"]
    assert heard(message) == said
    message["headers"]["version"] = VERSION + 1
    assert heard(message) is None
