"""What /metrics says, read back with Prometheus' own parser."""

from __future__ import annotations

from collections.abc import Iterable

from loguru import logger
from prometheus_client.parser import text_string_to_metric_families

from telemetry.metrics import (
    HttpMetrics,
    JobCount,
    LedgerCollector,
    ModelState,
    QueueState,
    Snapshot,
    TaskTotals,
    WorkerState,
    render,
)

SNAPSHOT = Snapshot(
    jobs=(JobCount("predict", "predict", "queued", 7), JobCount("train", "train", "running", 1)),
    totals=(TaskTotals("predict", 100, 90, 3, 2),),
    queues=(QueueState("predict", 7, 1.5),),
    workers=(WorkerState("predict@a", True, 1), WorkerState("general@b", False, 0)),
    models=(
        ModelState("default", "2", "healthy", 0.95, 0.8, 12.5, 10_000.0),
        ModelState('odd"\nname', None, "no_model", None, 0.9, None, None),
    ),
)


def samples(metrics: HttpMetrics) -> dict[tuple[str, ...], float]:
    """Every sample by its name and its labels' values, in the order of the labels' names."""
    families = text_string_to_metric_families(render(metrics.registry).decode())
    found: Iterable[tuple[tuple[str, ...], float]] = (
        ((sample.name, *sample.labels.values()), sample.value) for family in families for sample in family.samples
    )
    return dict(found)


def test_requests_are_counted_and_timed() -> None:
    """By method, route and status; each service has a registry of its own."""
    metrics = HttpMetrics()
    metrics.observe("POST", "/predict", 202, 0.004)
    metrics.observe("POST", "/predict", 202, 0.2)
    metrics.observe("GET", "/jobs/<id>", 404, 0.001)
    found = samples(metrics)
    assert found["http_requests_total", "POST", "/predict", "202"] == 2
    assert found["http_requests_total", "GET", "/jobs/<id>", "404"] == 1
    assert found["http_request_seconds_bucket", "0.005", "POST", "/predict"] == 1
    assert found["http_request_seconds_count", "POST", "/predict"] == 2
    assert found["process_resident_memory_bytes",] > 1e6
    assert ("http_requests_total", "POST", "/predict", "202") not in samples(HttpMetrics())


def test_a_client_cannot_make_series_with_made_up_methods() -> None:
    """Whatever HTTP does not know is one method, OTHER."""
    metrics = HttpMetrics()
    for method in ("BREW", "brew", "X" * 500):
        metrics.observe(method, "/predict", 405, 0.001)
    assert samples(metrics)["http_requests_total", "OTHER", "/predict", "405"] == 3


def test_the_ledger_s_numbers_have_celery_exporter_s_names() -> None:
    """Queues, workers and tasks as existing Grafana dashboards ask for them."""
    metrics = HttpMetrics()
    metrics.registry.register(LedgerCollector(lambda: SNAPSHOT))
    found = samples(metrics)
    assert found["celery_queue_length", "predict"] == 7
    assert found["celery_worker_up", "predict@a"] == 1
    assert found["celery_worker_up", "general@b"] == 0
    assert found["celery_worker_tasks_active", "predict@a"] == 1
    totals = [found[f"celery_task_{event}_total", "predict"] for event in ("sent", "succeeded", "failed", "retried")]
    assert totals == [100, 90, 3, 2]


def test_jobs_and_models_have_names_of_our_own() -> None:
    """What is not known yet has no sample rather than a zero; any name of a model is escaped."""
    metrics = HttpMetrics()
    metrics.registry.register(LedgerCollector(lambda: SNAPSHOT))
    found = samples(metrics)
    assert found["continual_ledger_up",] == 1
    assert found["continual_jobs", "predict", "predict", "queued"] == 7
    assert found["continual_queue_oldest_seconds", "predict"] == 1.5
    assert found["continual_model_info", "default", "healthy", "2"] == 1
    assert found["continual_model_performance", "default"] == 0.95
    assert found["continual_model_threshold", 'odd"\nname'] == 0.9
    assert found["continual_drift_statistic", "default"] == 12.5
    assert found["continual_drift_limit", "default"] == 10_000
    assert ("continual_model_performance", 'odd"\nname') not in found


def test_each_scrape_reads_the_ledger_afresh_and_registering_does_not() -> None:
    """One snapshot a scrape."""
    lengths = iter([1, 2])
    metrics = HttpMetrics()
    metrics.registry.register(LedgerCollector(lambda: Snapshot(queues=(QueueState("train", next(lengths), 0.0),))))
    assert [samples(metrics)["celery_queue_length", "train"] for _ in range(2)] == [1, 2]


def test_a_ledger_that_fails_leaves_the_other_metrics() -> None:
    """The scrape goes on, says so in a sample, and the log holds why."""

    def broken() -> Snapshot:
        raise OSError("no such disk")

    told: list[str] = []
    sink = logger.add(told.append, format="{message}")
    metrics = HttpMetrics()
    metrics.observe("GET", "/health", 503, 0.001)
    metrics.registry.register(LedgerCollector(broken))
    found = samples(metrics)
    logger.remove(sink)
    assert found["continual_ledger_up",] == 0
    assert found["http_requests_total", "GET", "/health", "503"] == 1
    assert "no such disk" in "".join(told)
