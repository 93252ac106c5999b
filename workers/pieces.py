"""Tables in the files of others: CSV, Parquet or an Arrow stream, read piece by piece, so that memory stays bounded."""

from __future__ import annotations

import math
import mmap
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq

PIECE = 65_536  # rows of the longest piece
CSV_BLOCK = 1 << 20  # bytes of a CSV piece, and of the longest CSV row
CSV_CUT = 4 << 20  # bytes of a CSV of numbers that one core parses at once
CORES = os.cpu_count() or 1
MOST_ROWS = 20_000_000
MOST_ERRORS = 100
Broken = list[tuple[int, str]]  # rows (from 0, without the header) that are none, and why


class Unusable(Exception):
    """The table cannot be used: one sentence, and faults with place and message."""

    def __init__(self, message: str, errors: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.kind = "invalid_rows"
        self.errors = list(errors) or [{"loc": ["body"], "msg": message}]


class NotNumbers(Exception):
    """A CSV column that should hold finite numbers has other cells, or a row is broken: read it as text to see which."""


def pieces(source: Path, broken: Broken, numbers: Sequence[str] = ()) -> Iterator[pa.Table]:
    """The table, piece after piece; the first one is empty and shows the columns.

    Args:
        broken: CSV rows of another width are left out and noted here.
        numbers: columns that CSV has as float64, which is quick, and all others as text.

    Raises:
        Unusable: the file is not what its name says, or has two columns of one name.
        OSError: with an errno: the disk could not give it.
        NotNumbers: only with `numbers`.
    """
    readers: dict[str, Callable[[], Iterator[pa.Table]]] = {
        ".csv": lambda: _csv(source, broken, numbers),
        ".parquet": lambda: _parquet(source),
        ".arrow": lambda: _arrow(source),
    }
    try:
        for number, piece in enumerate(readers[source.suffix]()):
            if number == 0:
                _no_twins(piece.column_names)
            piece.validate(full=True)
            yield piece
    except (pa.ArrowException, OSError, ValueError, KeyError) as wrong:
        if isinstance(wrong, OSError) and wrong.errno is not None:  # the disk's fault, not the table's: Arrow's own have none
            raise
        raise Unusable(f"The body is not readable as {source.suffix[1:]}: {_first_line(wrong)}.") from wrong


def _no_twins(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise Unusable(f"The table has two columns of one name: {', '.join(twice)}.")


def _first_line(wrong: Exception) -> str:
    return str(wrong).strip().splitlines()[0][:200].rstrip(".") if str(wrong).strip() else type(wrong).__name__


def _csv(path: Path, broken: Broken, numbers: Sequence[str]) -> Iterator[pa.Table]:
    def note(row: pa.csv.InvalidRow) -> str:
        broken.append(((row.number or 2) - 2, f"expected {row.expected_columns} cells, got {row.actual_columns}"))
        return "error" if numbers else "skip"

    one_thread = pa.csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK)
    with path.open("rb") as file:
        lenient = pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda _: "skip")
        names = pa.csv.open_csv(file, read_options=one_thread, parse_options=lenient).schema.names
    options = pa.csv.ConvertOptions(
        column_types={name: pa.float64() if name in numbers else pa.string() for name in names},
        strings_can_be_null=True,
        null_values=[""],
        quoted_strings_can_be_null=False,
    )
    strict = pa.csv.ParseOptions(newlines_in_values=not set(names) <= set(numbers), invalid_row_handler=note)
    try:
        if not strict.newlines_in_values:
            yield from _numbers(path, names, strict, options)
            return
        with path.open("rb") as file:
            stream = pa.csv.open_csv(file, read_options=one_thread, parse_options=strict, convert_options=options)
            yield stream.schema.empty_table()
            for batch in stream:
                yield _finite(pa.Table.from_batches([batch]), numbers)
    except pa.ArrowInvalid as wrong:
        if numbers:
            raise NotNumbers from wrong
        raise


def _numbers(path: Path, names: Sequence[str], strict: Any, options: Any) -> Iterator[pa.Table]:
    """A CSV of nothing but numbers, cut at line breaks (within a value one would be a fault) and parsed on every core."""

    def parsed(lines: memoryview) -> pa.Table:
        reading = pa.csv.ReadOptions(use_threads=False, column_names=names, block_size=CSV_BLOCK)
        source = pa.BufferReader(pa.py_buffer(lines))
        return _finite(pa.csv.read_csv(source, read_options=reading, parse_options=strict, convert_options=options), names)

    with ThreadPoolExecutor(CORES, "csv") as pool:
        cuts = _whole_lines(path)
        under_way = deque(pool.submit(parsed, lines) for lines in islice(cuts, CORES + 1))
        yield pa.table({name: pa.array([], pa.float64()) for name in names})
        while under_way:
            yield under_way.popleft().result()
            under_way.extend(pool.submit(parsed, lines) for lines in islice(cuts, 1))


def _whole_lines(path: Path) -> Iterator[memoryview]:
    """The file without its first line, mapped, in cuts of some CSV_CUT bytes that end with a line.

    Raises:
        NotNumbers: a line is longer than CSV_BLOCK.
    """
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    size = len(mapped)

    def line_end(place: int) -> int:
        found = mapped.find(b"\n", place, place + CSV_BLOCK)
        if found < 0 and place + CSV_BLOCK < size:
            raise NotNumbers
        return found + 1 if found >= 0 else size

    start = line_end(0)
    while start < size:
        end = line_end(min(start + CSV_CUT, size - 1))
        yield memoryview(mapped)[start:end]
        start = end
        # what was parsed long ago is the disk's again, and no memory of ours; were it still read, it would come back
        if (done := (start - 4 * (CORES + 1) * CSV_CUT) // mmap.PAGESIZE * mmap.PAGESIZE) > 0:
            mapped.madvise(mmap.MADV_DONTNEED, 0, done)


def _finite(table: pa.Table, names: Sequence[str]) -> pa.Table:
    if not all(math.isfinite(pc.sum(table[name], min_count=0).as_py()) for name in names):
        raise NotNumbers
    return table


def _parquet(path: Path) -> Iterator[pa.Table]:
    limits = {"thrift_string_size_limit": 64 << 20, "thrift_container_size_limit": 1 << 20}
    file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20, **limits)
    if file.metadata.num_rows > MOST_ROWS:
        raise ValueError(f"it announces {file.metadata.num_rows} rows, at most {MOST_ROWS} are taken")
    yield file.schema_arrow.empty_table()
    for batch in file.iter_batches(PIECE, use_threads=False):
        yield pa.Table.from_batches([batch])


def _arrow(path: Path) -> Iterator[pa.Table]:
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
        yield stream.schema.empty_table()
        for batch in stream:
            batch.validate(full=True)
            for start in range(0, batch.num_rows, PIECE):
                yield pa.Table.from_batches([batch.slice(start, PIECE)])
