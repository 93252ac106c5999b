"""Packed rows become a matrix or a DataFrame, and back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ml.rows import from_columns, pack, stack, take, truth, unpack
from problems.rows import pack_instances
from tests.ml.common import MIXED, mixed_rows, problem


def test_a_plain_problem_is_a_view_of_the_message() -> None:
    """Numbers only: float64 (n, d) without a copy, and the same message again."""
    packed = pack_instances(problem(), [[1, 2], [3, 4], [5, 6]])
    rows = unpack(problem(), packed)
    assert isinstance(rows, np.ndarray)
    assert rows.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert not rows.flags.owndata
    assert pack(problem(), rows) == packed


def test_other_problems_are_a_dataframe_in_declared_order() -> None:
    """Missing is NaN in numbers, None in categories, the empty text in texts."""
    whose = problem(features={"c": "category?", "n": "number?", "t": "text?"})
    rows = unpack(whose, pack_instances(whose, [["a", 1, "hello"], [None, None, None]]))
    assert isinstance(rows, pd.DataFrame)
    assert rows.columns.tolist() == ["c", "n", "t"]
    assert rows["c"].tolist() == ["a", None]
    assert rows["n"].isna().tolist() == [False, True]
    assert rows["t"].tolist() == ["hello", ""]


def test_packing_is_the_inverse_of_unpacking() -> None:
    """A DataFrame travels as bytes and comes back equal."""
    whose = problem(features=MIXED)
    rows, _ = mixed_rows(whose)
    again = unpack(whose, pack(whose, rows))
    assert isinstance(rows, pd.DataFrame)
    assert isinstance(again, pd.DataFrame)
    pd.testing.assert_frame_equal(rows, again)


@pytest.mark.parametrize("features", [{"x1": "number", "x2": "number"}, {"x1": "number", "x2": "category"}])
def test_rows_are_taken_and_stacked(features: dict[str, str]) -> None:
    """The same by slice and by places, for matrices and DataFrames."""
    whose = problem(features=features)
    rows = from_columns(whose, {"x1": [1, 2, 3], "x2": ["4", "5", "6"]})
    both = stack([take(rows, slice(2, None)), take(rows, np.array([0, 1]))])
    assert pack(whose, both) == pack(whose, take(rows, np.array([2, 0, 1])))


def test_labels_keep_their_type() -> None:
    """Text, whole numbers and booleans stay so; a mixture is refused."""
    assert truth(problem(), ["a", "b"]).tolist() == ["a", "b"]
    assert truth(problem(), [1, 0]).dtype == np.int64
    assert truth(problem(), [True]).dtype == np.bool_
    assert truth(problem("regression"), [1, 2]).dtype == np.float64
    with pytest.raises(ValueError, match="several types"):
        truth(problem(), [1, "b"])
