"""Families of samples that come from elsewhere: counters and histograms that the ledger keeps, gauges of what it knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

Labels = tuple[str, ...]


class Family(Protocol):
    """What gives a metric family."""

    def metric(self) -> Metric:
        """The family with its samples."""


@dataclass(frozen=True, slots=True)
class Counts:
    """A counter: by its labels' values, a number that only grows."""

    name: str
    about: str
    labels: Labels
    values: Mapping[Labels, float]

    def metric(self) -> Metric:
        family = CounterMetricFamily(self.name, self.about, labels=self.labels)
        for labels, value in sorted(self.values.items()):
            family.add_metric(labels, value)
        return family


@dataclass(frozen=True, slots=True)
class Gauges:
    """A gauge: by its labels' values, a number as it is now; None is not known and gives no sample."""

    name: str
    about: str
    labels: Labels
    values: Mapping[Labels, float | None]

    def metric(self) -> Metric:
        family = GaugeMetricFamily(self.name, self.about, labels=self.labels)
        for labels, value in sorted(self.values.items()):
            if value is not None:
                family.add_metric(labels, value)
        return family


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram: by its labels' values, how many durations fell into each bucket (not summed up), and their sum in seconds.

    Attributes:
        bounds: the buckets' upper bounds as text, ascending, `+Inf` last.
    """

    name: str
    about: str
    labels: Labels
    bounds: Sequence[str]
    values: Mapping[Labels, tuple[Mapping[str, float], float]]

    def metric(self) -> Metric:
        family = HistogramMetricFamily(self.name, self.about, labels=self.labels)
        for labels, (counts, total) in sorted(self.values.items()):
            so_far, buckets = 0.0, []
            for bound in self.bounds:
                so_far += counts.get(bound, 0.0)
                buckets.append((bound, so_far))
            family.add_metric(labels, buckets, total)
        return family
