"""Checked columns as rows that models take."""

from __future__ import annotations

import pyarrow as pa

from ml.rows import Rows, from_columns
from problems.declaration import Problem


def as_rows(problem: Problem, columns: pa.Table) -> Rows:
    """The features of a checked table."""
    features = {f.name: columns[f.name] for f in problem.features}
    plain = {f.name for f in problem.numbers}
    return from_columns(
        problem,
        {
            name: column.to_numpy(zero_copy_only=False) if name in plain else column.to_pylist()
            for name, column in features.items()
        },
    )
