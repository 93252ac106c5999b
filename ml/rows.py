"""Rows as models take them: one float64 matrix where a problem is numbers only, else a DataFrame.

In a DataFrame numbers and booleans are float64 (NaN is missing), categories are `object` columns of
str (None is missing) and texts `object` columns of str (a missing text is the empty text).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from problems.declaration import Feature, Problem
from problems.rows import PackedRows

LARGEST: Final = float(np.finfo(np.float32).max)
Rows = NDArray[np.float64] | pd.DataFrame
Truth = NDArray[Any]


def unpack(problem: Problem, packed: PackedRows) -> Rows:
    """The rows of one message; a matrix is a read-only view of its bytes, shape (n, d).

    Raises:
        ValueError: packed under another problem's features.
    """
    numbers = np.frombuffer(packed.numbers, dtype=np.float64).reshape(packed.count, len(problem.numbers))
    if problem.plain:
        return numbers
    columns: dict[str, Any] = {f.name: numbers[:, i] for i, f in enumerate(problem.numbers)}
    texts = {f.name: column for f, column in zip(problem.texts, packed.texts, strict=True)}
    return from_columns(problem, columns | texts)


def pack(problem: Problem, rows: Rows) -> PackedRows:
    """The inverse of `unpack`."""
    if isinstance(rows, np.ndarray):
        return PackedRows(len(rows), np.ascontiguousarray(rows, dtype=np.float64).tobytes())
    numbers = rows[[f.name for f in problem.numbers]].to_numpy(np.float64)
    texts = tuple(tuple(rows[f.name].tolist()) for f in problem.texts)
    return PackedRows(len(rows), np.ascontiguousarray(numbers).tobytes(), texts)


def from_columns(problem: Problem, columns: Mapping[str, NDArray[Any] | Sequence[Any]]) -> Rows:
    """Rows from columns by name, each of n values; other columns are left out.

    Raises:
        KeyError: a feature's column is not there.
        ValueError: a number's column holds something else.
    """
    if problem.plain:
        return np.array([columns[f.name] for f in problem.features], dtype=np.float64).T  # each column stays in one piece
    return pd.DataFrame({f.name: _column(f, columns[f.name]) for f in problem.features})


def take(rows: Rows, index: NDArray[Any] | slice) -> Rows:
    """The rows at these places (integers, a mask or a slice), in that order."""
    return rows[index] if isinstance(rows, np.ndarray) else rows.iloc[index].reset_index(drop=True)


def stack(parts: Sequence[Rows]) -> Rows:
    """The parts one under the other; all matrices or all DataFrames, at least one."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return pd.concat([part for part in parts if isinstance(part, pd.DataFrame)], ignore_index=True)


def can_be_learnt(rows: Rows, said: Truth) -> NDArray[np.bool_]:
    """Which rows an estimator can learn from, shape (n,): those whose numbers, and the value of a regression, float32 can hold.

    Trees read numbers as float32 and refuse what is larger; and of larger ones the squares, which a scaler sums, may be none.
    One such row would fail every training that meets it.
    """
    numbers = rows if isinstance(rows, np.ndarray) else rows.select_dtypes("number").to_numpy()
    fit = ~(np.abs(numbers) > LARGEST).any(axis=1)  # a missing one is not larger
    return np.asarray(fit & (np.abs(said) <= LARGEST) if said.dtype == np.float64 else fit)


def truth(problem: Problem, labels: Iterable[Any]) -> Truth:
    """Labels as an array: float64 for a regression, else bool, int64 or str as they were taught.

    Raises:
        ValueError: labels of several types.
    """
    values = list(labels)
    if problem.task == "regression":
        return np.array(values, dtype=np.float64)
    if len({type(value) for value in values}) > 1:
        raise ValueError("labels of several types: expected all text, all whole numbers or all true and false")
    return np.array(values)


def _column(feature: Feature, values: NDArray[Any] | Sequence[Any]) -> pd.Series[Any]:
    if feature.type in ("number", "boolean"):
        return pd.Series(np.asarray(values, dtype=np.float64))
    missing = "" if feature.type == "text" else None
    return pd.Series([missing if value is None else value for value in values], dtype=object)
