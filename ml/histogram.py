"""Histograms of a feature, on bins that its reference fixes: what people look at where a test says that it moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

INSIDE: Final = 12  # bins over the reference's middle 98 %; half as many on either side for what moves out of it
KINDS: Final = 20  # categories with a bar of their own


def edges_of(values: NDArray[np.float64]) -> list[float]:
    """The inner edges of 24 bins of equal width, the first and the last of them open.

    Args:
        values: float64, shape (n,), n >= 1; -inf stands for a missing value and is left out.
    """
    present = values[np.isfinite(values)]
    if not len(present):
        return []
    low, high = (float(q) for q in np.quantile(present, [0.01, 0.99]))
    width = (high - low) / INSIDE or 1.0
    first = low - width * INSIDE / 2
    return [first + width * n for n in range(1, 2 * INSIDE)]


def count_numbers(edges: Sequence[float], values: NDArray[np.float64]) -> dict[str, Any]:
    """Rows in each bin, and rows whose value is missing (-inf)."""
    missing = np.isneginf(values)
    places = np.searchsorted(np.asarray(edges), values[~missing], side="right")
    return {"counts": np.bincount(places, minlength=len(edges) + 1).tolist(), "missing": int(missing.sum())}


def count_kinds(known: Sequence[str], values: NDArray[Any]) -> dict[str, Any]:
    """Rows of each of the kinds, and of all others together."""
    found = Counter(values.tolist())
    counts = [found[kind] for kind in known]
    return {"counts": counts, "others": len(values) - sum(counts)}
