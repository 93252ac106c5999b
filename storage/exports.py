"""Result files in the format a client asks for. pyarrow is imported when the first table leaves, not at start.

A large result lies as an Arrow stream, which is sent as it is; other formats are made of it batch by batch, so that memory
stays bounded whatever its length. A small one comes from the JSON of its job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

MAGIC = b"ARROW1"  # how an Arrow file begins, and a stream does not
SHARE = "probability_"  # a class's column
UNIQUE = "prediction_id"  # a column of our own making: harmless, and no value comes twice
ROWS_AT_ONCE = 65_536  # rows of a Parquet row group or of one piece of the answer
FORMULA = r"^[=+\-@\t\r]"  # text cells that a spreadsheet would run


class _Pieces:
    """A file to write to; what was written is taken away piece by piece."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._position = 0
        self.closed = False

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._position += len(part)
        return len(part)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        self.closed = True

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def of_file(path: Path) -> tuple[Any, Iterator[Any]]:
    """The schema and the tables of an Arrow file or stream, each of at most ROWS_AT_ONCE rows."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        is_file = file.read(len(MAGIC)) == MAGIC
        file.seek(0)
        with pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file) as source:
            whole = source.read_all()  # mapped, not loaded
    return whole.schema, (whole.slice(first, ROWS_AT_ONCE) for first in range(0, whole.num_rows, ROWS_AT_ONCE))


def of_predictions(predictions: Sequence[Mapping[str, Any]]) -> tuple[Any, Iterator[Any]]:
    """The predictions of a job's JSON as one table: probabilities become columns `probability_<class>`."""
    import pyarrow as pa

    columns = {
        name: [each[name] for each in predictions] for name in ("prediction_id", "label", "value") if name in predictions[0]
    }
    for name in predictions[0].get("probabilities", {}):
        columns[f"{SHARE}{name}"] = [each["probabilities"][name] for each in predictions]
    table = pa.table(columns)
    return table.schema, iter([table])


def encode(schema: Any, tables: Iterator[Any], format_: str) -> Iterator[bytes]:
    """The tables as `csv`, `parquet` or `arrow` (a stream), piece by piece."""
    sink = _Pieces()
    with _writer(sink, schema, format_) as writer:
        for table in tables:
            writer.write_table(_harmless(table) if format_ == "csv" else table)
            yield sink.take()
    yield sink.take()


def _writer(sink: _Pieces, schema: Any, format_: str) -> Any:
    import pyarrow as pa

    file = pa.PythonFile(sink, mode="w")
    if format_ == "parquet":
        import pyarrow.parquet

        often = [field.name for field in schema if field.name != UNIQUE and not pa.types.is_floating(field.type)]
        return pa.parquet.ParquetWriter(file, schema, use_dictionary=often)
    if format_ == "arrow":
        return pa.ipc.new_stream(file, schema)
    import pyarrow.csv

    return pa.csv.CSVWriter(file, schema)


def _harmless(table: Any) -> Any:
    """Text cells that a spreadsheet would take for a formula begin with an apostrophe."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type) and field.name != UNIQUE:
            column = table.column(place)
            risky = pc.fill_null(pc.match_substring_regex(column, FORMULA), False)
            if pc.any(risky).as_py():
                quoted = pc.binary_join_element_wise(pa.scalar("'"), column, "")
                table = table.set_column(place, field, pc.if_else(risky, quoted, column))
    return table


def as_json(head: Mapping[str, Any], tables: Iterator[Any]) -> Iterator[bytes]:
    """A large prediction as the JSON of a small one: `head` (model, version), then all predictions."""
    yield msgspec.json.encode(head)[:-1] + (b"," if head else b"") + b'"predictions":['
    comma = b""
    for table in tables:
        yield comma + _rows(table)
        comma = b","
    yield b"]}"


def _rows(table: Any) -> bytes:
    """The rows as JSON objects between commas, made column by column: a large answer has no time for Python's objects."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts: list[Any] = [f'{{"{UNIQUE}":"', table.column(UNIQUE), '"']
    for name in ("label", "value"):
        if name in table.column_names:
            parts += [f',"{name}":', _texts(table.column(name))]
    shares = [name for name in table.column_names if name.startswith(SHARE)]
    opening = ',"probabilities":{'
    for name in shares:
        key = msgspec.json.encode(name.removeprefix(SHARE)).decode()
        parts += [f"{opening}{key}:", _texts(table.column(name))]
        opening = ","
    rows = pc.binary_join_element_wise(*parts, "}}" if shares else "}", "").combine_chunks()
    whole = pa.ListArray.from_arrays(pa.array([0, len(rows)], pa.int32()), rows)
    joined: bytes = pc.binary_join(whole, ",")[0].as_buffer().to_pybytes()
    return joined


def _texts(column: Any) -> Any:
    """The JSON of each value: numbers as they are, and each different text or truth encoded once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_string(column.type) or pa.types.is_boolean(column.type)):
        return column.cast(pa.string())
    known = column.unique()
    encoded = pa.array([msgspec.json.encode(value).decode() for value in known.to_pylist()], pa.string())
    return encoded.take(pc.index_in(column, value_set=known).combine_chunks())
