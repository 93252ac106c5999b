"""What is said of a table of labelled rows beside its rows: examples of what was left out, and what is odd in what was kept.

Warnings refuse nothing: rows repeat, ranges grow and categories are added in good data too. Runs in the child that reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml.challenger import SMALLEST_HISTORY
from ml.feature_drift import KINDS, MISSING
from ml.leakage import LARGEST_SAMPLE, suspects
from ml.rows import LARGEST, can_be_learnt, take, truth
from problems.declaration import Problem
from problems.labels import Label
from workers.columns import as_rows
from workers.pieces import PIECE, Broken

MOST_EXAMPLES: Final = 10  # of rows that were left out
FEW: Final = 3  # of what a warning speaks of
MOST_CHARACTERS: Final = 60
RARE: Final = 0.01  # a larger share of rows beyond the known range is worth a word
Fault = tuple[str, Any, str]  # (column, mask of the rows, why)
Warning_ = dict[str, Any]  # kind, column, count, message, examples


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the model before the table came.

    Attributes:
        classes: labels seen so far.
        rows: labelled rows in its history.
        sketch: of the champion's training rows (`ml.feature_drift.reference_sketch`); empty before the first.
    """

    classes: list[Label] = field(default_factory=list)
    rows: int = 0
    sketch: Mapping[str, Any] = field(default_factory=dict)


def numbering(rows: int, broken: Broken) -> NDArray[np.int64]:
    """The row in the file (from 0, without the header) of each of the rows that could be read."""
    return np.setdiff1d(np.arange(rows + len(broken)), [row for row, _ in broken])


def examples(table: pa.Table, faults: Sequence[Fault], broken: Broken, numbers: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The first rows that are left out: `row`, `column`, `value` as it came, shortened, and the `reason`."""
    found: list[dict[str, Any]] = [
        {"row": row, "column": None, "value": None, "reason": msg} for row, msg in broken[:MOST_EXAMPLES]
    ]
    for name, mask, msg in faults:
        for place in pc.indices_nonzero(mask).slice(0, MOST_EXAMPLES).to_pylist():
            value = shortened(table[name][place].as_py())
            found.append({"row": int(numbers[place]), "column": name, "value": value, "reason": msg})
    return sorted(found, key=lambda each: each["row"])[:MOST_EXAMPLES]


def shortened(value: object) -> str | None:
    """A value as text of at most 60 characters."""
    text = None if value is None else str(value)
    return text if text is None or len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def oddities(problem: Problem, known: Known, kept: pa.Table, numbers: NDArray[np.int64]) -> list[Warning_]:
    """What is odd in the rows that are kept, each kind with its count and a few examples.

    Args:
        kept: features in their stored types, and the label.
        numbers: the row in the file of each of them.
    """
    where: Callable[[Any], list[int]] = lambda mask: numbers[pc.indices_nonzero(mask).slice(0, FEW).to_numpy()].tolist()  # noqa: E731
    found = [each for f in problem.features if (each := _missing(f.name, kept[f.name].combine_chunks()))]
    for name in kept.schema.names:
        if kept.schema.field(name).type == pa.float64():
            found += _too_large(name, kept[name].combine_chunks(), where)
    for name, grid in known.sketch.get("quantiles", {}).items():
        if kept.schema.field(name).type == pa.float64():
            found += _beyond(name, kept[name].combine_chunks(), [q for q in grid if q is not None], where)
    for name, counts in known.sketch.get("counts", {}).items():
        found += _unseen(name, kept[name].combine_chunks(), counts, where) if len(counts) < KINDS else []
    return found + _repeated(kept, numbers) + _leaks(problem, kept) + _too_little(problem, known, kept)


def _warning(kind: str, column: str | None, count: int, message: str, shown: Sequence[Any] = ()) -> Warning_:
    return {"kind": kind, "column": column, "count": count, "message": message, "examples": list(shown)}


def _missing(name: str, column: Any) -> Warning_ | None:
    if column.null_count < len(column):
        return None
    return _warning("always_missing", name, len(column), f"{name} is missing in every row")


def _too_large(name: str, column: Any, where: Callable[[Any], list[int]]) -> list[Warning_]:
    """Numbers that no estimator learns; see `ml.rows.can_be_learnt`."""
    large = pc.fill_null(pc.greater(pc.abs(column), LARGEST), False)
    count = pc.sum(large).as_py() or 0
    if not count:
        return []
    message = f"{count:,} of {len(column):,} values of {name} are beyond {LARGEST:.3g}: no training looks at their rows"
    return [_warning("too_large", name, count, message, _shown(column, large, where))]


def _beyond(name: str, column: Any, grid: Sequence[float], where: Callable[[Any], list[int]]) -> list[Warning_]:
    """Numbers outside of what the champion has learnt from: many of them, or one by more than the whole range."""
    if not grid or column.null_count == len(column):
        return []
    low, high = grid[0], grid[-1]
    outside = pc.fill_null(pc.or_(pc.less(column, low), pc.greater(column, high)), False)
    count, span = pc.sum(outside).as_py() or 0, pc.min_max(column).as_py()
    far = max(low - span["min"], span["max"] - high) > max(high - low, abs(high), abs(low))
    if not far and count <= RARE * len(column):
        return []
    message = (
        f"{count:,} of {len(column):,} values of {name} are outside of {low:g} to {high:g}, which the champion has learnt from"
    )
    return [_warning("out_of_range", name, count, message, _shown(column, outside, where))]


def _unseen(name: str, column: Any, counts: Mapping[str, int], where: Callable[[Any], list[int]]) -> list[Warning_]:
    known = pa.array([kind for kind in counts if kind != MISSING], pa.string())
    unseen = pc.and_(pc.is_valid(column), pc.invert(pc.is_in(column, value_set=known)))
    count = pc.sum(unseen).as_py() or 0
    if not count:
        return []
    kinds = [shortened(kind) for kind in pc.unique(column.filter(unseen)).slice(0, FEW).to_pylist()]
    message = (
        f"{count:,} of {len(column):,} values of {name} are none that the champion has learnt from: {', '.join(map(str, kinds))}"
    )
    return [_warning("unseen_category", name, count, message, _shown(column, unseen, where))]


def _shown(column: Any, mask: Any, where: Callable[[Any], list[int]]) -> list[dict[str, Any]]:
    values = column.filter(mask).slice(0, FEW).to_pylist()
    return [{"row": row, "value": shortened(value)} for row, value in zip(where(mask), values, strict=True)]


def _repeated(kept: pa.Table, numbers: NDArray[np.int64]) -> list[Warning_]:
    """Rows that are the same as one before, label and all, by a hash of 64 bits."""
    parts = [kept.slice(start, PIECE).to_pandas() for start in range(0, kept.num_rows, PIECE)]
    hashes = np.concatenate([pd.util.hash_pandas_object(part, index=False).to_numpy() for part in parts])
    first = np.unique(hashes, return_index=True)[1]
    count = len(hashes) - len(first)
    if not count:
        return []
    again = np.ones(len(hashes), dtype=bool)
    again[first] = False
    shown = [{"row": row} for row in numbers[np.flatnonzero(again)[:FEW]].tolist()]
    message = f"{count:,} of {len(hashes):,} rows repeat an earlier one exactly; they are kept"
    return [_warning("duplicate_rows", None, count, message, shown)]


def _leaks(problem: Problem, kept: pa.Table) -> list[Warning_]:
    places = np.linspace(0, kept.num_rows - 1, min(kept.num_rows, LARGEST_SAMPLE)).astype(np.int64)
    some = kept.take(pa.array(places))
    rows, said = as_rows(problem, some), truth(problem, some[problem.label].to_pylist())
    fit = can_be_learnt(rows, said)
    found = suspects(problem, take(rows, fit), said[fit])
    advice = "if it is not known when predicting, declare a model without it"
    return [_warning("leakage", each.feature, kept.num_rows, f"{each}; {advice}") for each in found]


def _too_little(problem: Problem, known: Known, kept: pa.Table) -> list[Warning_]:
    found, have = [], known.rows + kept.num_rows
    if have < SMALLEST_HISTORY:
        message = f"{have} labelled rows in all; training begins at {SMALLEST_HISTORY}: {SMALLEST_HISTORY - have} more are needed"
        found.append(_warning("few_rows", None, have, message))
    if problem.task != "regression":
        classes = {*known.classes, *pc.unique(kept[problem.label].combine_chunks()).to_pylist()}
        if len(classes) == 1:
            message = f"all labels so far are {classes.pop()!r}; training needs rows of at least two classes"
            found.append(_warning("one_class", problem.label, kept.num_rows, message))
    return found
