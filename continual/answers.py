"""What comes back, typed. Fields that a newer API adds are passed over, those that an older one lacks have a default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")
KINDS = ("predict", "generate", "ingest", "check", "train", "shadow", "notify")  # of jobs
STATUSES = ("queued", "running", "succeeded", "failed", "dead", "cancelled")
ENDED = frozenset({"succeeded", "failed", "dead", "cancelled"})


@dataclass(frozen=True)
class Page(Generic[T]):
    """Entries of a list, newest first; `next_cursor` is the next page's, None on the last one."""

    entries: list[T]
    next_cursor: str | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


class JobError(msgspec.Struct, frozen=True):
    """Why a job did not succeed; `errors` are the faults of its rows, each {"loc", "msg"}."""

    type: str
    message: str
    attempts: int = 0
    errors: list[dict[str, Any]] = []


class Job(msgspec.Struct, frozen=True):
    """A job. `progress` is 0 to 1; `result` what its kind gives, cut down to a summary where it is large."""

    id: str
    kind: str
    model: str
    status: str
    created_at: datetime
    task_id: str | None = None
    attempt: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    progress: float | None = None
    result: Any = None
    error: JobError | None = None

    @property
    def ended(self) -> bool:
        """Whether it will never change again."""
        return self.status in ENDED

    @property
    def succeeded(self) -> bool:
        """Whether it has a result."""
        return self.status == "succeeded"

    @property
    def failure(self) -> str:
        """Why it ended without a result, in a sentence; empty if it did not."""
        if not self.ended or self.succeeded:
            return ""
        why = f": {self.error.message}" if self.error else ""
        return f"{self.kind} {self.id} {self.status}{why}"


class Shadow(msgspec.Struct, frozen=True):
    """What a challenger in shadow would have answered, row by row; `agreed` rows of them as the champion did."""

    job_id: str
    model: str
    version: str
    rows: int
    agreed: int
    predictions: list[dict[str, Any]]
    created_at: datetime


class Dataset(msgspec.Struct, frozen=True):
    """Labelled rows that arrived as a table, or were generated."""

    id: str
    model: str
    rows: int
    rejected: int
    source: str
    created_at: datetime
    report: dict[str, Any] = {}
    job_id: str = ""


class Model(msgspec.Struct, frozen=True):
    """A model: what was declared, and which version serves."""

    name: str
    schema: dict[str, Any]
    estimator: Any
    champion: str | None
    settings: dict[str, Any]
    rows: int = 0
    source: str = ""
    warnings: list[str] = []
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Automation(msgspec.Struct, frozen=True):
    """When the loop looks again."""

    interval_s: float
    next_check_at: datetime


class Trial(msgspec.Struct, frozen=True):
    """A challenger on trial: `mode` is shadow or canary, which answers this share of the jobs.

    `figures`: labelled rows compared so far, the evidence that it is better and that it is worse, and the limit of both.
    """

    version: str
    mode: str
    share: float
    since: datetime
    until: datetime
    figures: dict[str, Any]
    answered: int
    agreed: int


class ModelStatus(msgspec.Struct, frozen=True):
    """How a model is: `state` is healthy, drifting, retraining or no_model."""

    model: str
    version: str | None
    performance: float | None
    threshold: float
    state: str
    automation: Automation
    last_check_at: datetime | None = None
    last_trained_at: datetime | None = None
    estimate: dict[str, Any] | None = None
    labels: dict[str, Any] | None = None
    trial: Trial | None = None


class Version(msgspec.Struct, frozen=True):
    """A trained version; `data` is its lineage. Since `pruned_at` its file is no longer kept, and it can serve no more."""

    version: str
    metrics: dict[str, Any]
    data: dict[str, Any]
    aliases: list[str]
    created_at: datetime
    job_id: str = ""
    pruned_at: datetime | None = None


class Check(msgspec.Struct, frozen=True):
    """A drift check; `everything` is the check as it was answered, with every statistic that was compared."""

    id: str
    job_id: str
    created_at: datetime
    decision: str
    model: str = ""
    labels_seen: int = 0
    statistic: float | None = None
    limit: float | None = None
    rows_since_change: int | None = None
    train_job: str | None = None
    everything: Mapping[str, Any] = {}


class Decision(msgspec.Struct, frozen=True):
    """A training, promotion, rejection or rollback, with its reason."""

    id: str
    created_at: datetime
    action: str
    version: str | None
    from_version: str | None
    reason: str
    job_id: str | None
    evidence: dict[str, Any] = {}


class Token(msgspec.Struct, frozen=True):
    """A token, without its secret."""

    id: str
    name: str
    role: str
    created_at: datetime
    expires_at: datetime | None = None


class NewToken(Token, frozen=True, kw_only=True):
    """A token with its secret, which is told this once."""

    token: str


class Act(msgspec.Struct, frozen=True):
    """A change that somebody asked for: who, what, on what, from which address, by which request."""

    id: str
    at: datetime
    token_id: str
    token_name: str
    role: str
    action: str
    subject: str
    detail: str = ""
    address: str = ""
    request_id: str = ""


class Incident(msgspec.Struct, frozen=True):
    """Something people were told; `lines` is its timeline, oldest first."""

    id: str
    model: str | None
    kind: str
    state: str
    title: str
    lines: list[str]
    opened_at: datetime
    updated_at: datetime


class Stored(msgspec.Struct, frozen=True):
    """What became of labels: `accepted` first or changed, `duplicate` known already, `unknown` ids of no prediction."""

    accepted: int
    duplicate: int = 0
    unknown: list[str] = []


class Label(msgspec.Struct, frozen=True):
    """A prediction's label as it stands, and those that it replaced, oldest first."""

    prediction_id: str
    label: Any
    labelled_at: datetime
    history: list[dict[str, Any]] = []


class Component(msgspec.Struct, frozen=True):
    """One part of the stack: ok or down, with a sentence."""

    status: str
    detail: str = ""


class Health(msgspec.Struct, frozen=True):
    """How the parts are; `status` is ok or degraded."""

    status: str
    version: str
    components: dict[str, Component]


class Queue(msgspec.Struct, frozen=True):
    """A queue: jobs that wait in it, and the age of the oldest in seconds."""

    name: str
    length: int
    oldest_age_s: float


class Process(msgspec.Struct, frozen=True):
    """A process that works for the stack; `jobs` are those that it holds."""

    name: str
    component: str
    queues: list[str]
    up: bool
    jobs: int
    seen_at: datetime


class Overview(msgspec.Struct, frozen=True):
    """What waits, what runs, who works, and rows predicted a second."""

    at: datetime
    queues: list[Queue]
    queued: int
    running: int
    processes: list[Process]
    predictions_per_s: float


class Point(msgspec.Struct, frozen=True):
    """What a check said: `performance` over the newest 2,000 labelled rows of the version, `recent` over the newest 200."""

    at: datetime
    version: str | None
    performance: float | None
    recent: float | None
    labels_seen: int
    statistic: float | None
    limit: float | None


class Event(msgspec.Struct, frozen=True):
    """What happened to a model: alarm, training, promotion, rejection or rollback; `decision` is the record's id."""

    at: datetime
    kind: str
    version: str | None
    text: str
    decision: str


class Timeline(msgspec.Struct, frozen=True):
    """A model's performance over time, with its events; both oldest first."""

    model: str
    metric: str
    threshold: float
    higher_is_better: bool
    points: list[Point]
    events: list[Event]


class Feature(msgspec.Struct, frozen=True):
    """One feature's newest rows beside the reference: distance, and both histograms in the same bins."""

    feature: str
    type: str
    test: str | None
    distance: float | None
    psi: float | None
    p: float | None
    drifted: bool
    reference: dict[str, Any] | None
    current: dict[str, Any] | None


class Inputs(msgspec.Struct, frozen=True):
    """A version's inputs beside the rows that it learnt from."""

    model: str
    version: str | None
    reference_rows: int
    checked_at: datetime | None
    features: list[Feature]


class Setting(msgspec.Struct, frozen=True):
    """A setting in effect; of a secret `value` says only whether it is set."""

    name: str
    value: Any
    default: Any
    secret: bool
    text: str
