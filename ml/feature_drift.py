"""Whether the inputs moved (learning.md, step 9): told to people, never a reason to retrain.

A sketch of the reference is made once per version; a comparison costs one sort of the new rows per feature,
whatever the reference's size. A column that only ever grows (a time, a counter) always drifts, which cannot
be known from here: declare it under `ignore`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, kolmogorov

from ml.histogram import KINDS as SHOWN
from ml.histogram import count_kinds, count_numbers, edges_of
from ml.rows import Rows
from problems.declaration import Problem

QUANTILES: Final = 1_000
BINS: Final = 10
KINDS: Final = 100
SMALLEST_SAMPLE: Final = 500
SMALLEST_DISTANCE: Final = 0.1
MISSING: Final = "(missing)"
CHECKS_A_WEEK: Final = 20_160  # one each 30 s


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """One feature compared with the reference.

    Attributes:
        test: "ks" for numbers and lengths of text, "chi2" for categories.
        distance: the largest between the distribution functions; for categories the total variation; 0 to 1.
        psi: population stability index over the reference's deciles or the categories.
        p: of the test, under no drift.
        drifted: p < budget / (20,160 x features) and distance >= .1.
        histogram: the new rows in the reference's bins, to be looked at; None if its sketch has none.
    """

    feature: str
    test: str
    distance: float
    psi: float
    p: float
    drifted: bool
    histogram: Mapping[str, Any] | None = None


def reference_sketch(problem: Problem, rows: Rows) -> dict[str, Any]:
    """What a comparison needs of n >= 1 rows, JSON-able: 1,001 quantiles or 100 counts a feature, and a histogram."""
    sketch: dict[str, Any] = {"rows": len(rows), "quantiles": {}, "counts": {}, "bins": {}}
    for name, kind, values in _columns(problem, rows):
        if kind == "category":
            sketch["counts"][name] = dict(Counter(values.tolist()).most_common(KINDS))
            shown = [str(kind) for kind in list(sketch["counts"][name])[:SHOWN]]
            sketch["bins"][name] = {"kinds": shown, **count_kinds(shown, values)}
        else:
            edges = edges_of(values)
            sketch["bins"][name] = {"edges": edges, **count_numbers(edges, values)}
            grid = np.quantile(values, np.linspace(0, 1, QUANTILES + 1), method="inverted_cdf")
            sketch["quantiles"][name] = [None if np.isneginf(q) else q for q in grid.tolist()]
    return sketch | {"types": {f.name: f.type for f in problem.features}}


def compare(sketch: Mapping[str, Any], rows: Rows, budget: float = 1.0) -> list[FeatureDrift]:
    """Each feature of n >= 500 new rows against the reference; an empty list for fewer rows.

    A missing number counts as the lowest of all, a missing category as one of its own.

    Args:
        sketch: from `reference_sketch`, of the same problem.
        budget: expected false alarms a week over all features when checked every 30 s.
    """
    if len(rows) < SMALLEST_SAMPLE:
        return []
    alpha = budget / (CHECKS_A_WEEK * len(sketch["types"]))
    found = []
    for name, values in _named(sketch["types"], rows):
        if name in sketch["counts"]:
            test, (distance, psi, p) = "chi2", _chi_square(sketch["counts"][name], sketch["rows"], values)
        else:
            test, (distance, psi, p) = (
                "ks",
                _kolmogorov_smirnov(sketch["quantiles"][name], sketch["rows"], values),
            )
        drifted = p < alpha and distance >= SMALLEST_DISTANCE
        found.append(FeatureDrift(name, test, distance, psi, p, drifted, _histogram(sketch, name, values)))
    return found


def _histogram(sketch: Mapping[str, Any], name: str, values: NDArray[Any]) -> dict[str, Any] | None:
    bins = sketch.get("bins", {}).get(name)  # versions of before there were histograms have none
    if bins is None:
        return None
    return count_kinds(bins["kinds"], values) if "kinds" in bins else count_numbers(bins["edges"], values)


def _columns(problem: Problem, rows: Rows) -> list[tuple[str, str, NDArray[Any]]]:
    types = {f.name: str(f.type) for f in problem.features}
    return [(name, types[name], values) for name, values in _named(types, rows)]


def _named(types: Mapping[str, str], rows: Rows) -> list[tuple[str, NDArray[Any]]]:
    if isinstance(rows, np.ndarray):
        return [(name, _lowest_where_missing(rows[:, i])) for i, name in enumerate(types)]
    return [(name, _column(kind, rows[name].to_numpy())) for name, kind in types.items()]


def _column(kind: str, values: NDArray[Any]) -> NDArray[Any]:
    if kind == "category":
        return np.array([MISSING if value is None else value for value in values], dtype=object)
    if kind == "text":
        return np.array([float(len(text)) for text in values])
    return _lowest_where_missing(values)


def _lowest_where_missing(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(values), -np.inf, values)


def _kolmogorov_smirnov(
    quantiles: list[float | None], reference_rows: int, values: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Distance (within 1/1000), PSI and the asymptotic p of two samples of these sizes."""
    grid = np.array([-np.inf if q is None else q for q in quantiles])
    ordered = np.sort(values)
    points = np.unique(grid)
    gaps = [np.abs(_share(ordered, points, side) - _share(grid[1:], points, side)).max() for side in ("left", "right")]
    distance = float(max(gaps))
    size = len(values) * reference_rows / (len(values) + reference_rows)
    edges = np.unique(grid[:: QUANTILES // BINS][1:-1])
    inside = [np.diff(_share(sample, edges, "right"), prepend=0.0, append=1.0) for sample in (grid[1:], ordered)]
    return distance, _psi(inside[0], inside[1], len(values)), float(kolmogorov(np.sqrt(size) * distance))


def _share(ordered: NDArray[np.float64], points: NDArray[np.float64], side: Any) -> NDArray[np.float64]:
    return np.asarray(np.searchsorted(ordered, points, side=side) / len(ordered))


def _chi_square(counts: Mapping[str, int], reference_rows: int, values: NDArray[Any]) -> tuple[float, float, float]:
    """Total variation, PSI and the chi-square test's p, over the kinds and all others together."""
    new = Counter(values.tolist())
    table = np.array([[counts[kind], new[kind]] for kind in counts], dtype=np.float64)
    others = [reference_rows - table[:, 0].sum(), len(values) - table[:, 1].sum()]
    table = np.vstack([table, others])
    table = table[table.sum(axis=1) > 0]
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    chi2 = ((table - expected) ** 2 / expected).sum()
    shares = table / table.sum(axis=0)
    p = float(chdtrc(len(table) - 1, chi2)) if len(table) > 1 else 1.0
    distance = float(np.abs(shares[:, 0] - shares[:, 1]).sum() / 2)
    return distance, _psi(shares[:, 0], shares[:, 1], len(values)), p


def _psi(reference: NDArray[np.float64], new: NDArray[np.float64], rows: int) -> float:
    """Sum of (new - old) ln(new / old); an empty bin counts as half a row."""
    old, now = np.maximum(reference, 0.5 / rows), np.maximum(new, 0.5 / rows)
    return float(((now - old) * np.log(now / old)).sum())
