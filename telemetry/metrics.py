"""Prometheus metrics: the API's own requests, and what the ledger knows about jobs, workers and models.

Where celery-exporter (https://github.com/danihodovic/celery-exporter) has a name for it, that name is used,
so that dashboards made for it fit; the rest is called `continual_*`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from loguru import logger
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from telemetry.families import Family

Sample = tuple[list[str], float | None]  # the labels' values, and the number if it is known
CONTENT_TYPE = CONTENT_TYPE_LATEST
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# Seconds; up to the 60 s that a client may ask to wait.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class HttpMetrics:
    """Counts and times requests, in a registry of its own together with the process's CPU time and memory.

    Attributes:
        registry: what `render` takes; further collectors may be registered on it.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "http_requests_total", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "http_request_seconds",
            "Time to answer",
            ["method", "route"],
            registry=self.registry,
            buckets=BUCKETS,
        )
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request.

        Args:
            method: an unusual one counts as OTHER, so that clients cannot make series at will.
            route: the rule that matched (`/jobs/<id>`), never the path, for the same reason.
            status: of the answer.
            seconds: from the request's arrival to its answer.
        """
        key = (method if method in METHODS else "OTHER", route, status)
        if key not in self._series:
            self._series[key] = (self._requests.labels(*key[:2], str(status)), self._seconds.labels(*key[:2]))
        requests, durations = self._series[key]
        requests.inc()
        durations.observe(seconds)


@dataclass(frozen=True, slots=True)
class JobCount:
    """Jobs that are in the ledger now."""

    kind: str
    queue: str
    status: str
    count: int


@dataclass(frozen=True, slots=True)
class TaskTotals:
    """What became of one kind's jobs since the ledger began; numbers that retention takes nothing from."""

    name: str
    sent: int
    succeeded: int
    failed: int
    retried: int


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue: jobs that wait in it, and the age of the oldest in seconds (0 if none waits)."""

    name: str
    length: int
    oldest_age_s: float


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One worker by its host name: whether its heartbeat is fresh, and the jobs that it holds."""

    hostname: str
    up: bool
    active: int


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model: None stands for what is not known yet and gives no sample."""

    model: str
    version: str | None
    state: str
    performance: float | None
    threshold: float
    statistic: float | None
    limit: float | None
    coverage: float | None = None
    delays_s: tuple[tuple[str, float], ...] = ()  # (quantile, seconds)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The ledger at one moment; `further` are families that are as they are to be shown."""

    jobs: tuple[JobCount, ...] = ()
    totals: tuple[TaskTotals, ...] = ()
    queues: tuple[QueueState, ...] = ()
    workers: tuple[WorkerState, ...] = ()
    models: tuple[ModelState, ...] = ()
    further: tuple[Family, ...] = ()


class LedgerCollector(Collector):
    """Asks for a snapshot at each scrape; if that fails, gives `continual_ledger_up 0` and a log line."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        """`snapshot` reads the ledger; it may raise."""
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not read the ledger."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The metric families of one snapshot."""
        try:
            found = self._snapshot()
        except Exception:  # noqa: BLE001 - whatever it is, the API's own metrics must still be served
            logger.exception("the ledger could not be read for /metrics")
            yield GaugeMetricFamily("continual_ledger_up", "1 if the ledger could be read", value=0)
            return
        yield GaugeMetricFamily("continual_ledger_up", "1 if the ledger could be read", value=1)
        yield from _tasks(found.totals)
        yield from _queues(found)
        yield from _workers(found.workers)
        yield from _models(found.models)
        for family in found.further:
            yield family.metric()


def render(registry: CollectorRegistry) -> bytes:
    """The registry in Prometheus' text format, to be served as CONTENT_TYPE."""
    return generate_latest(registry)


def _gauge(name: str, about: str, labels: list[str], samples: Iterable[Sample]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=labels)
    for values, number in samples:
        if number is not None:
            family.add_metric(values, number)
    return family


def _tasks(totals: tuple[TaskTotals, ...]) -> Iterator[Metric]:
    for event in ("sent", "succeeded", "failed", "retried"):
        family = CounterMetricFamily(f"celery_task_{event}", f"Jobs {event}, by kind", labels=["name"])
        for each in totals:
            family.add_metric([each.name], getattr(each, event))
        yield family


def _queues(found: Snapshot) -> Iterator[Metric]:
    counts = (([each.kind, each.queue, each.status], each.count) for each in found.jobs)
    yield _gauge("continual_jobs", "Jobs in the ledger", ["kind", "queue_name", "status"], counts)
    lengths = (([each.name], each.length) for each in found.queues)
    yield _gauge("celery_queue_length", "Jobs that wait", ["queue_name"], lengths)
    ages = (([each.name], each.oldest_age_s) for each in found.queues)
    yield _gauge("continual_queue_oldest_seconds", "Age of the oldest job that waits", ["queue_name"], ages)


def _workers(workers: tuple[WorkerState, ...]) -> Iterator[Metric]:
    up = (([each.hostname], float(each.up)) for each in workers)
    yield _gauge("celery_worker_up", "1 if the worker's heartbeat is fresh", ["hostname"], up)
    active = (([each.hostname], each.active) for each in workers)
    yield _gauge("celery_worker_tasks_active", "Jobs that the worker holds", ["hostname"], active)


def _models(models: tuple[ModelState, ...]) -> Iterator[Metric]:
    info = (([each.model, each.version or "", each.state], 1.0) for each in models)
    yield _gauge("continual_model_info", "1 for each model as it is", ["model", "version", "state"], info)
    for field, name, about in (
        ("performance", "continual_model_performance", "The champion's metric on recent labels"),
        ("threshold", "continual_model_threshold", "The floor, for an error metric the ceiling"),
        ("statistic", "continual_drift_statistic", "Evidence of drift"),
        ("limit", "continual_drift_limit", "Evidence at which the alarm goes off"),
        ("coverage", "continual_label_coverage", "Labelled share of the predictions of the last seven days"),
    ):
        yield _gauge(name, about, ["model"], (([each.model], getattr(each, field)) for each in models))
    late = (([each.model, quantile], seconds) for each in models for quantile, seconds in each.delays_s)
    yield _gauge("continual_label_delay_seconds", "From a prediction to its label", ["model", "quantile"], late)
