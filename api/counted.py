"""What /metrics says beyond the state of jobs: what workers have counted, what processes use, how far features have moved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from storage.checks import Check
from storage.heartbeats import SILENT_S, Heartbeat
from storage.models import Model
from storage.tallies import BUCKETS, SUM, Key
from telemetry.families import Counts, Durations, Family, Gauges, Labels

COUNTERS = {
    "predictions": ("continual_predictions", "Rows predicted", ("model", "version")),
    "decisions": ("continual_decisions", "Decisions about a model: train, promote, reject, rollback", ("model", "action")),
    "lease_expired": ("continual_lease_expirations", "Jobs taken back from silent workers", ("kind",)),
}
HISTOGRAMS = {
    "runtime": ("celery_task_runtime", "Seconds that a job ran", ("name",)),
    "queue_wait": ("celery_task_queue_wait_time", "Seconds that a job waited for its worker", ("name",)),
    "job_seconds": ("continual_job_seconds", "Seconds from a job's 202 to its end", ("kind", "status")),
}
COMPONENTS = ("worker", "beat", "sweeper", "registry")
STATISTICS = ("distance", "psi", "p")  # of a feature against the reference, as a check has them

Values = dict[Labels, float | None]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the families are made of.

    Attributes:
        counted: the ledger's tallies.
        signs: the newest sign of life of each process that was seen lately.
        now: epoch seconds.
        models: every model, with its newest check if there was one.
        interval_s: seconds between two checks of a model that names no interval of its own.
        free_bytes: of the disk that DATA_DIR is on.
    """

    counted: dict[Key, float]
    signs: Sequence[Heartbeat]
    now: float
    models: Sequence[tuple[Model, Check | None]]
    interval_s: float
    free_bytes: int


def families(facts: Facts) -> tuple[Family, ...]:
    """All of it."""
    checked = [check for _, check in facts.models if check]
    return (
        *_counters(facts.counted),
        *_histograms(facts.counted),
        *_processes(facts.signs, facts.now),
        *_checked(checked),
        *_kept(facts),
    )


def _counters(counted: dict[Key, float]) -> list[Family]:
    return [
        Counts(*said, {key[1:]: value for key, value in counted.items() if key[0] == name}) for name, said in COUNTERS.items()
    ]


def _histograms(counted: dict[Key, float]) -> list[Family]:
    found: dict[str, dict[Key, dict[str, float]]] = {name: defaultdict(dict) for name in HISTOGRAMS}
    for (name, *labels, bucket), value in counted.items():
        if name in found:
            found[name][tuple(labels)][bucket] = value
    return [
        Durations(*said, BUCKETS, {labels: (counts, counts.get(SUM, 0.0)) for labels, counts in found[name].items()})
        for name, said in HISTOGRAMS.items()
    ]


def _processes(signs: Sequence[Heartbeat], now: float) -> list[Family]:
    """The API's own are `process_*`, as everywhere."""
    alive = {sign.component for sign in signs if sign.ok and now - sign.seen_at < SILENT_S}
    up: Values = {(name,): float(name in alive) for name in COMPONENTS}
    labels = ("component", "hostname")
    by = {(sign.component, sign.name): sign for sign in signs if sign.cpu_s is not None}
    return [
        Gauges("continual_component_up", "1 if a part of the program gave a sign of life lately", ("component",), up),
        Gauges(
            "continual_process_cpu_seconds", "CPU time of a process and its children", labels, {k: s.cpu_s for k, s in by.items()}
        ),
        Gauges("continual_process_resident_bytes", "Their memory", labels, {k: s.resident for k, s in by.items()}),
        Gauges("continual_process_open_files", "Their open files", labels, {k: s.files for k, s in by.items()}),
    ]


def _checked(checked: list[Check]) -> list[Family]:
    features: Values = {
        (check.model, str(each["feature"]), statistic): each.get(statistic)
        for check in checked
        for each in check.result.get("features", ())
        for statistic in STATISTICS
    }
    recent: Values = {(check.model,): check.result.get("recent_performance") for check in checked}
    reference: Values = {(check.model,): check.result.get("reference_mu0") for check in checked}
    seen: Values = {(check.model,): check.created_at for check in checked}
    return [
        Gauges("continual_feature_drift", "A feature against its reference", ("model", "feature", "statistic"), features),
        Gauges("continual_model_recent_performance", "The metric on the newest 200 labels", ("model",), recent),
        Gauges("continual_drift_reference_loss", "The loss per row that the detector holds for normal", ("model",), reference),
        Gauges("continual_last_check_timestamp_seconds", "When a model was last checked", ("model",), seen),
    ]


def _kept(facts: Facts) -> list[Family]:
    """What alert rules compare with: intervals, thresholds in their direction, the disk."""
    every: Values = {(model.name,): model.interval_s(facts.interval_s) for model, _ in facts.models}
    keeps: Values = {
        (model.name,): float(model.problem.keeps(model.performance)) for model, _ in facts.models if model.performance is not None
    }
    return [
        Gauges("continual_check_interval_seconds", "Seconds between two checks", ("model",), every),
        Gauges("continual_model_keeps_threshold", "1 if performance keeps the threshold, 0 if not", ("model",), keeps),
        Gauges("continual_disk_free_bytes", "Free bytes of the disk under DATA_DIR", (), {(): float(facts.free_bytes)}),
    ]
