"""JSON rows are checked and packed, or refused with row and feature."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest

from problems.declaration import Problem, parse_problem
from problems.labels import InvalidLabel, parse_label
from problems.rows import InvalidRows, PackedRows, joined, pack_instances


def problem(task: str = "binary", **features: str) -> Problem:
    """A problem with these features."""
    metric = "mae" if task == "regression" else "accuracy"
    estimator = "sklearn.linear_model.LogisticRegression"
    given = {"task": task, "label": "y", "metric": metric, "threshold": 1, "estimator": estimator, "ignore": ["ts"]}
    return parse_problem("m", given | {"features": features})


PLANE = problem(x1="number", x2="number")
MIXED = problem(n="number?", c="category?", b="boolean", t="text")


def numbers(packed: PackedRows) -> list[float]:
    return list(struct.unpack(f"={len(packed.numbers) // 8}d", packed.numbers))


@pytest.mark.parametrize(
    "body",
    [
        b"[[1,2.5],[3,4]]",
        b'[{"x2":2.5,"x1":1},{"x1":3,"x2":4}]',
        b'[[1,2.5],{"x2":4,"x1":3}]',
        b'[{"x1":1,"x2":2.5,"y":0,"ts":"now"},{"x1":3,"x2":4}]',
    ],
)
def test_lists_objects_and_mixtures_pack_to_the_same_bytes(body: bytes) -> None:
    """Row-major float64; the label and ignored columns are dropped; raw and decoded JSON agree."""
    packed = pack_instances(PLANE, msgspec.Raw(body))
    assert (packed.count, numbers(packed), packed.texts) == (2, [1.0, 2.5, 3.0, 4.0], ())
    assert pack_instances(PLANE, json.loads(body)) == packed
    assert PackedRows.decode(packed.encode()) == packed


def test_missing_values_categories_and_booleans_have_their_places() -> None:
    """NaN and None are missing, booleans are 0 or 1, a category's number is its JSON text."""
    packed = pack_instances(MIXED, b'[[null,7,true,"a"],[2,"x",false,""],[3,null,true,"b"],[1,2.0,true,"c"],[1,true,true,"d"]]')
    assert math.isnan(numbers(packed)[0])
    assert numbers(packed)[1:4] == [1.0, 2.0, 0.0]
    assert packed.texts == (("7", "x", None, "2.0", "true"), ("a", "", "b", "c", "d"))
    assert PackedRows.decode(packed.encode()).texts == packed.texts


def test_rows_in_a_file_are_those_that_were_written(tmp_path: Path) -> None:
    """The numbers stay in the file, also when that is removed: who reads it has its bytes."""
    packed = pack_instances(MIXED, b'[[1.5,7,true,"a"],[2,"x",false,""]]')
    file = tmp_path / "rows.bin"
    file.write_bytes(packed.encode())
    read = PackedRows.of_file(file)
    file.unlink()
    assert (read.count, numbers(read), read.texts) == (packed.count, numbers(packed), packed.texts)
    assert type(read.numbers).__name__ == "memoryview"


def test_an_optional_key_may_be_absent() -> None:
    """An absent key is a null."""
    packed = pack_instances(MIXED, b'[{"b":false,"t":"a"}]')
    assert math.isnan(numbers(packed)[0])
    assert packed.texts == ((None,), ("a",))


FAULTS: dict[str, tuple[Problem, bytes, tuple[int | str, ...]]] = {
    "nan": (PLANE, b"[[1,2],[NaN,1]]", ("instances", 1, "x1")),
    "infinity": (PLANE, b"[[1e999,1]]", ("instances", 0, "x1")),
    "a number of 400 digits": (PLANE, b"[[1" + b"0" * 400 + b",1]]", ("instances", 0, "x1")),
    "text for a number": (PLANE, b'[[1,"2"]]', ("instances", 0, "x2")),
    "null for a number": (PLANE, b"[[null,2]]", ("instances", 0, "x1")),
    "a boolean for a number": (PLANE, b"[[true,2]]", ("instances", 0, "x1")),
    "a list for a number": (PLANE, b"[[[1],2]]", ("instances", 0, "x1")),
    "too wide": (PLANE, b"[[1,2,3]]", ("instances", 0)),
    "ragged": (PLANE, b"[[1,2],[1]]", ("instances", 1)),
    "a row that is a number": (PLANE, b"[3]", ("instances", 0)),
    "a name is missing": (PLANE, b'[{"x1":1}]', ("instances", 0, "x2")),
    "a wrong name": (PLANE, b'[{"x1":1,"x2":2,"x9":2}]', ("instances", 0, "x9")),
    "a wrong name beside optional ones that are absent": (MIXED, b'[{"b":true,"t":"x","x9":2}]', ("instances", 0, "x9")),
    "no rows": (PLANE, b"[]", ("instances",)),
    "no list": (PLANE, b'"12"', ("instances",)),
    "a number for a boolean": (MIXED, b'[[1,"a",1,"t"]]', ("instances", 0, "b")),
    "a number for a text": (MIXED, b'[[1,"a",true,5]]', ("instances", 0, "t")),
    "half a surrogate": (MIXED, b'[[1,"\\ud800",true,"t"]]', ("instances", 0, "c")),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_told_with_its_row_and_feature(case: str) -> None:
    """The loc of a 422 is ("instances", row from 0, feature)."""
    whose, body, loc = FAULTS[case]
    with pytest.raises(InvalidRows) as refused:
        pack_instances(whose, body)
    assert [error.loc for error in refused.value.errors] == [loc]


def test_decoded_rows_with_nan_or_infinity_are_refused_too() -> None:
    """A body read by Python's json may hold them."""
    with pytest.raises(InvalidRows) as refused:
        pack_instances(problem(a="number?"), [[math.nan], [1.0], [math.inf]])
    assert [error.loc for error in refused.value.errors] == [("instances", 0, "a"), ("instances", 2, "a")]


def test_rows_of_several_jobs_are_joined_in_order() -> None:
    """Numbers and texts one under the other; rows that were packed for another width are no part of it."""
    rows = [[1, "a", True, "x"], [2, None, False, "y"], [3, "b", True, "z"]]
    parts = [pack_instances(MIXED, rows[:2]), pack_instances(MIXED, rows[2:])]
    assert joined(parts) == pack_instances(MIXED, rows)
    with pytest.raises(ValueError, match="widths"):
        joined([PackedRows(1, bytes(8)), PackedRows(1, bytes(24))])


def test_the_first_hundred_faults_are_told() -> None:
    """A thousand bad rows do not make a thousand lines."""
    with pytest.raises(InvalidRows) as refused:
        pack_instances(PLANE, [["a", "b"]] * 1000)
    assert len(refused.value.errors) == 100


def test_what_is_no_json_is_a_decode_error() -> None:
    """Brackets without end are malformed, and do not exhaust the stack."""
    with pytest.raises(msgspec.DecodeError):
        pack_instances(PLANE, b"[" * 100_000)


@pytest.mark.parametrize(
    ("task", "classes", "given", "taken"),
    [
        ("binary", (0, 1), 1, 1),
        ("binary", (0, 1), 1.0, 1),
        ("binary", (), 1.0, 1),
        ("binary", ("no", "yes"), "yes", "yes"),
        ("binary", (False, True), True, True),
        ("binary", (1,), 0, 0),
        ("multiclass", ("a", "b", "c"), "new", "new"),
        ("regression", (), 3, 3.0),
    ],
)
def test_a_label_takes_the_type_it_is_taught_with(task: str, classes: Any, given: Any, taken: Any) -> None:
    """1.0 from a table is the class 1; a regression's label is a float."""
    label = parse_label(problem(task, x="number"), given, classes)
    assert (type(label), label) == (type(taken), taken)


IMPOSSIBLE: list[tuple[str, tuple[Any, ...], list[Any]]] = [
    ("binary", (0, 1), ["blue", 7, None, [1], 0.5, True, math.nan]),
    ("binary", (), [None, 0.5, "", [], 10**30, math.inf]),
    ("multiclass", ("a", "b", "c"), [4]),
    ("regression", (), [True, "3", None, math.nan, math.inf, 10**400]),
]


@pytest.mark.parametrize(("task", "classes", "wrong"), IMPOSSIBLE)
def test_an_impossible_label_is_refused(task: str, classes: Any, wrong: list[Any]) -> None:
    """A third class of a binary task, another type, nothing, or a number that is none."""
    for given in wrong:
        with pytest.raises(InvalidLabel, match="expected"):
            parse_label(problem(task, x="number"), given, classes)
