"""Tables as clients write them: what is taken, what is refused, and which row and feature is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

from problems.declaration import Problem
from tests.problems.test_rows import problem
from workers import pieces, reading, tables
from workers.pieces import Unusable

PLANE = problem(a="number", b="number?")
TEXTS = problem(n="number", c="category?", t="text")
LONG = 200_000  # rows: many pieces of a CSV file


def read(whose: Problem, source: Path) -> dict[str, list[Any]]:
    """The checked columns, NaN as null."""
    if source.suffix == ".arrow" and reading.as_is(whose, source):
        table = tables.mapped(source)
    else:
        target = source.with_name("rows.arrow")
        rows = reading.read_features(whose, source, target)
        table = tables.mapped(target)
        assert table.num_rows == rows
    columns = {f.name: table[f.name].to_pylist() for f in whose.features}
    return {name: [None if value != value else value for value in column] for name, column in columns.items()}


def csv(folder: Path, text: str) -> Path:
    file = folder / "table.csv"
    file.write_bytes(text.encode())
    return file


def arrow(folder: Path, table: pa.Table, size: int = 65_536, **options: Any) -> Path:
    file = folder / "table.arrow"
    with pa.ipc.new_stream(file, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as stream:
        stream.write_table(table, max_chunksize=size)
    return file


def parquet(folder: Path, table: pa.Table) -> Path:
    file = folder / "table.parquet"
    pa.parquet.write_table(table, file)
    return file


@pytest.mark.parametrize(
    ("text", "a", "b"),
    [
        ("a,b\n1,2.5\n3,4\n", [1.0, 3.0], [2.5, 4.0]),
        ("a,b\r\n1,2\r\n", [1.0], [2.0]),
        ("b,a\n1,2\n", [2.0], [1.0]),
        ("a,b\n1,\n", [1.0], [None]),
        ("a\n1\n", [1.0], [None]),
        ("a,b\n+1, 2 \n", [1.0], [2.0]),
        ("a,b\n1.,.5\n", [1.0], [0.5]),
        ('a,b\n"1","2"\n', [1.0], [2.0]),
        ("a,b,y\n1,2,0\n", [1.0], [2.0]),
        ('a,b,ts\n1,2,"x\ny"\n3,4,z\n', [1.0, 3.0], [2.0, 4.0]),
    ],
)
def test_numbers_in_csv_may_be_written_in_many_ways(tmp_path: Path, text: str, a: list[Any], b: list[Any]) -> None:
    """A sign, spaces, quotes, columns in any order, the label and what is ignored, with line breaks within."""
    assert read(PLANE, csv(tmp_path, text)) == {"a": a, "b": b}


@pytest.mark.parametrize(
    ("text", "loc"),
    [
        ("a,b\n1,2\nx,4\n5,y\n", ["row", 1, "a"]),
        ("a,b\n1,nan\n", ["row", 0, "b"]),
        ("a,b\n1,2\n1,inf\n", ["row", 1, "b"]),
        ("a,b\n1,2\n,1\n", ["row", 1, "a"]),
        ('a,b\n1,""\n', ["row", 0, "b"]),
        ("a,b\n0x10,1\n", ["row", 0, "a"]),
        ('a,b\n"1\n",2\n3,z\n', ["row", 1, "b"]),
        ("a,b\n1,2\n4\n7,8\n", ["row", 1]),
        ("a,b\n1,2,3\n", ["row", 0]),
        ("a,b\n" + "1,2\n" * LONG + "x,1\n" + "1,2\n" * 10 + "y,3\n", ["row", LONG, "a"]),
        ("a,b\n" + "1,2\n" * LONG + "1\n", ["row", LONG]),
        ("a,b,z\n1,2,3\n", ["column", "z"]),
        ("b\n1\n", ["column", "a"]),
        ("a,b\n", ["body"]),
        ("", ["body"]),
        ("a,a\n1,2\n", ["body"]),
    ],
)
def test_a_fault_in_csv_is_told_with_its_place(tmp_path: Path, text: str, loc: list[Any]) -> None:
    """The first one, also where it stands far behind the first piece."""
    with pytest.raises(Unusable) as refused:
        read(PLANE, csv(tmp_path, text))
    assert refused.value.errors[0]["loc"] == loc


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
@pytest.mark.parametrize("last", ["", "98,99"])
def test_a_csv_of_numbers_is_the_same_however_it_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, last: str
) -> None:
    """Cuts of sixteen bytes, that end with a line: rows of some lengths, blank lines, a last line without an end."""
    rows = [(n, 10.0**n) for n in range(20)]
    text = end.join(["a,b", *(f"{a},{b!r}" for a, b in rows), last])
    monkeypatch.setattr(pieces, "CSV_CUT", 16)
    expected = rows + [(98.0, 99.0)] * bool(last)
    assert read(PLANE, csv(tmp_path, text)) == {"a": [a for a, _ in expected], "b": [b for _, b in expected]}


def test_a_line_that_is_longer_than_any_row_may_be_is_refused(tmp_path: Path) -> None:
    """A body without a line break, or with one too late, is no table; it is not looked through to its end."""
    for text in ("a,b\n" + "1" * (3 << 20), "a,b" + " " * (3 << 20) + "\n1,2\n"):
        with pytest.raises(Unusable):
            read(PLANE, csv(tmp_path, text))


def test_the_first_hundred_faults_are_told(tmp_path: Path) -> None:
    """In the order of rows, whatever their columns."""
    with pytest.raises(Unusable) as refused:
        read(PLANE, csv(tmp_path, "a,b\n" + "x,y\n" * 300))
    assert [each["loc"][1:] for each in refused.value.errors] == [[n // 2, "ab"[n % 2]] for n in range(100)]


@pytest.mark.parametrize("make", [arrow, parquet])
@pytest.mark.parametrize(
    ("columns", "loc"),
    [
        ({"a": [1.0, None], "b": [1.0, 2.0]}, ["row", 1, "a"]),
        ({"a": [1.0, float("nan")], "b": [1.0, 2.0]}, ["row", 1, "a"]),
        ({"a": [1.0] * 100_000, "b": [2.0] * 99_999 + [float("inf")]}, ["row", 99_999, "b"]),
        ({"a": ["1", "x"], "b": [1.0, 2.0]}, ["row", 1, "a"]),
        ({"a": [[1.0]], "b": [1.0]}, ["row", 0, "a"]),
        ({"a": pa.array([], pa.float64())}, ["body"]),
    ],
)
def test_a_fault_in_a_table_of_types_is_told_with_its_place(
    tmp_path: Path, make: Callable[[Path, pa.Table], Path], columns: dict[str, Any], loc: list[Any]
) -> None:
    with pytest.raises(Unusable) as refused:
        read(PLANE, make(tmp_path, pa.table(columns)))
    assert refused.value.errors[0]["loc"] == loc


def test_large_numbers_are_no_fault(tmp_path: Path) -> None:
    """Each is finite, their sum is not."""
    assert read(PLANE, arrow(tmp_path, pa.table({"a": [1e308] * 9, "b": [1e308] * 9})))["a"] == [1e308] * 9


ROWS = pa.table({"n": [1.0, 2.0], "c": ["x", None], "t": ["a", "b"]})
MANY = pa.concat_tables([ROWS] * 5_000).combine_chunks()
REWRITTEN = {
    "other types": (ROWS.set_column(0, "n", [[1, 2]]), 65_536, {}),
    "another order of types": (ROWS.set_column(1, "c", [ROWS["c"].cast(pa.large_string())]), 65_536, {}),
    "a column too many": (ROWS.append_column("ts", [["x", "y"]]), 65_536, {}),
    "a column too few": (ROWS.drop_columns("c"), 65_536, {}),
    "compressed": (MANY, 65_536, {"compression": "zstd"}),
    "in crumbs": (MANY, 10, {}),
}


def test_an_arrow_stream_of_the_right_types_is_read_where_it_lies(tmp_path: Path) -> None:
    source = arrow(tmp_path, MANY)
    assert reading.as_is(TEXTS, source)
    assert read(TEXTS, source) == MANY.to_pydict()


@pytest.mark.parametrize("case", REWRITTEN)
def test_other_arrow_streams_are_written_anew(tmp_path: Path, case: str) -> None:
    table, size, options = REWRITTEN[case]
    source = arrow(tmp_path, table, size, **options)
    assert not reading.as_is(TEXTS, source)
    missing = {"c": [None] * table.num_rows}
    assert read(TEXTS, source) == missing | {name: column for name, column in table.to_pydict().items() if name != "ts"}


def test_a_csv_file_is_never_in_memory_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty megabytes in pieces of one, of which two are parsed at once."""
    monkeypatch.setattr(pieces, "CSV_CUT", 1 << 20)
    monkeypatch.setattr(pieces, "CORES", 2)
    source = csv(tmp_path, "a,b\n" + "0.12345678901,0.2345678901\n" * 1_200_000)
    before = pa.total_allocated_bytes()
    most = 0
    for piece in pieces.pieces(source, [], ["a", "b"]):
        assert piece.num_rows < 100_000
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 12 << 20
