"""The message: a doorbell. It names jobs that the ledger knows and carries nothing to obey."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from jobs.kinds import KINDS, Kind

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
