"""Problems and rows that several tests of ml/ share; all generated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.rows import Rows, from_columns
from problems.declaration import Problem, parse_problem


def problem(task: str = "binary", estimator: str = "linear_model.LogisticRegression", **more: Any) -> Problem:
    """x1 and x2 unless other features are given."""
    given = {
        "task": task,
        "label": "y",
        "metric": "mae" if task == "regression" else "accuracy",
        "threshold": 0.8,
        "estimator": f"sklearn.{estimator}",
        "features": {"x1": "number", "x2": "number"},
    }
    return parse_problem("m", given | more)


MIXED = {"n": "number?", "b": "boolean", "c": "category?", "t": "text?"}


def mixed_rows(whose: Problem, rows: int = 200, seed: int = 0) -> tuple[Rows, NDArray[np.int64]]:
    """Rows of the MIXED features, some values missing, and the labels that n, c and t tell of."""
    rng = np.random.default_rng(seed)
    n, kind = rng.normal(size=rows), rng.integers(0, 3, size=rows)
    columns: dict[str, Any] = {
        "n": np.where(rng.random(rows) < 0.1, np.nan, n),
        "b": rng.integers(0, 2, size=rows).astype(float),
        "c": [[None, "red", "blue"][k] for k in kind],
        "t": [None if v < -1.5 else "good thing" if v > 0 else "bad thing" for v in n],
    }
    return from_columns(whose, columns), (n + 1.5 * (kind == 2) > 0.5).astype(np.int64)
