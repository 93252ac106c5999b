"""The message: a doorbell. It names jobs that the ledger knows and carries nothing to obey.

It says in which version of this form it is. One without that word is of version 1; one of a newer version is not read: the job
waits in the ledger for a bell that is understood, from the sweeper or for a newer worker.
"""

from __future__ import annotations

import base64
import re
import uuid
from dataclasses import dataclass

import msgspec

from jobs.kinds import KINDS, TICK, Kind

VERSION = 1
JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Ring:
    """Jobs of one kind for one queue, at most `kinds.GROUP` of them."""

    queue: str
    kind: Kind
    job_ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind: got {self.kind!r}, expected one of {', '.join(KINDS)}")

    @property
    def task_id(self) -> str:
        """The Celery task's id: the job's own where it travels alone."""
        return self.job_ids[0] if len(self.job_ids) == 1 else str(uuid.uuid4())


def job_ids_of(argument: object) -> list[str]:
    """The ids in a message's argument. Whatever is not an id is dropped: a forged message is at most an idle look-up."""
    if not isinstance(argument, list):
        return []
    return [item for item in argument if isinstance(item, str) and JOB_ID.fullmatch(item)]


class _Headers(msgspec.Struct):
    task: str
    id: str
    request_id: str | None = None
    version: int = 1


class _Raw(msgspec.Struct):
    """The parts of a Celery message (protocol 2, as kombu puts it on a Redis list) that we read."""

    body: str
    headers: _Headers


@dataclass(frozen=True, slots=True)
class Heard:
    """A doorbell as it came off its queue: a task that we know, and ids that could be jobs'."""

    task: str
    task_id: str
    job_ids: tuple[str, ...]
    request_id: str | None


def heard(message: object) -> Heard | None:
    """What a message (as parsed from JSON) says; None if it is none, or of a newer release. Nothing else of it is looked at."""
    try:
        raw = msgspec.convert(message, _Raw)
        body = msgspec.json.decode(base64.b64decode(raw.body, validate=True))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    arguments = body[0] if isinstance(body, list) and body else None
    job_ids = tuple(job_ids_of(arguments[0])) if isinstance(arguments, list) and arguments else ()
    task, known = raw.headers.task, raw.headers.task in KINDS and bool(job_ids)
    if raw.headers.version > VERSION or not (known or task == TICK) or not JOB_ID.fullmatch(raw.headers.id):
        return None
    return Heard(task, raw.headers.id, job_ids, raw.headers.request_id)


def celery_message(said: Heard, queue: str) -> dict[str, object]:
    """The message that Celery's workers take for this doorbell, and nothing that `said` does not hold."""
    arguments = [list(said.job_ids)] if said.job_ids else []
    body = msgspec.json.encode([arguments, {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    headers: dict[str, object] = {
        "lang": "py",
        "task": said.task,
        "id": said.task_id,
        "root_id": said.task_id,
        "retries": 0,
        "ignore_result": True,
    }
    headers["version"] = VERSION
    return {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers | ({"request_id": said.request_id} if said.request_id else {}),
        "properties": {
            "correlation_id": said.task_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "delivery_tag": str(uuid.uuid4()),
            "body_encoding": "base64",
            "priority": 0,
        },
    }
