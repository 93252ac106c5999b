"""Result files in the format a client asks for. pyarrow is imported when the first table leaves, not at start.

A large result lies as an Arrow IPC file of record batches; it is read and sent batch by batch, so that memory stays
bounded whatever its length. A small one comes from the JSON of its job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

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


def of_file(path: Path, job_id: str | None) -> tuple[Any, Iterator[Any]]:
    """The schema and the tables of a result file, each of at most ROWS_AT_ONCE rows.

    Args:
        job_id: for a prediction: a first column `prediction_id`, `<job id>:<row>`, is added.
    """
    import pyarrow as pa

    source = pa.ipc.open_file(pa.memory_map(str(path)))
    schema = source.schema.insert(0, pa.field("prediction_id", pa.string())) if job_id else source.schema
    return schema, _tables(source, job_id)


def _tables(source: Any, job_id: str | None) -> Iterator[Any]:
    import pyarrow as pa

    held: list[Any] = []
    start = 0
    for number in range(source.num_record_batches):
        held.append(source.get_batch(number))
        if sum(len(batch) for batch in held) >= ROWS_AT_ONCE or number == source.num_record_batches - 1:
            table = pa.Table.from_batches(held, source.schema)
            held = []
            for first in range(0, table.num_rows, ROWS_AT_ONCE):
                piece = table.slice(first, ROWS_AT_ONCE)
                yield _numbered(piece, job_id, start) if job_id else piece
                start += piece.num_rows


def _numbered(table: Any, job_id: str, start: int) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = pa.array(range(start, start + table.num_rows), pa.int64()).cast(pa.string())
    ids = pc.binary_join_element_wise(pa.scalar(job_id), numbers, ":")
    return table.add_column(0, "prediction_id", ids)


def of_predictions(predictions: Sequence[Mapping[str, Any]]) -> tuple[Any, Iterator[Any]]:
    """The predictions of a job's JSON as one table: probabilities become columns `probability_<class>`."""
    import pyarrow as pa

    columns = {
        name: [each[name] for each in predictions] for name in ("prediction_id", "label", "value") if name in predictions[0]
    }
    for name in predictions[0].get("probabilities", {}):
        columns[f"probability_{name}"] = [each["probabilities"][name] for each in predictions]
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

        return pa.parquet.ParquetWriter(file, schema)
    if format_ == "arrow":
        return pa.ipc.new_stream(file, schema)
    import pyarrow.csv

    return pa.csv.CSVWriter(file, schema)


def _harmless(table: Any) -> Any:
    """Text cells that a spreadsheet would take for a formula begin with an apostrophe."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
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
        columns = {name: table.column(name).to_pylist() for name in table.column_names}
        rows = msgspec.json.encode(_rows(columns))[1:-1]
        if rows:
            yield comma + rows
            comma = b","
    yield b"]}"


def _rows(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    ids = columns["prediction_id"]
    if "value" in columns:
        return [{"prediction_id": id_, "value": value} for id_, value in zip(ids, columns["value"], strict=True)]
    names = [name.removeprefix("probability_") for name in columns if name.startswith("probability_")]
    shares = zip(*(columns[f"probability_{name}"] for name in names), strict=True)
    return [
        {"prediction_id": id_, "label": label, "probabilities": dict(zip(names, row, strict=True))}
        for id_, label, row in zip(ids, columns["label"], shares, strict=True)
    ]
