"""Bodies and messages made by someone who means harm."""

from __future__ import annotations

import io
import struct
import uuid
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.chaos.faults import JUNK
from jobs.messages import Heard, celery_message

OUT_OF_BOUNDS = 2**31 - 2
ARROW, PARQUET, CSV = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet", "text/csv"


def arrow_beyond_its_end() -> bytes:
    """A stream whose last text claims to reach two gigabytes past the body's end."""
    rows = 4
    texts = pa.array([f"text {n}" for n in range(rows)])
    table = pa.table({"x1": pa.array([1.0] * rows), "x2": texts})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    offsets = bytes(texts.buffers()[1])[: 4 * (rows + 1)]
    assert sink.getvalue().count(offsets) == 1
    return sink.getvalue().replace(offsets, offsets[:-4] + struct.pack("<i", OUT_OF_BOUNDS))


def parquet(rows: int, value: float = 0.0) -> bytes:
    """One value, so often that it is large in memory and next to nothing in the file."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, pa.schema([("x1", pa.float64()), ("x2", pa.float64())]), compression="zstd") as file:
        step = 1_000_000
        column = pa.array([value] * step)
        table = pa.table({"x1": column, "x2": column})
        for _ in range(rows // step):
            file.write_table(table)
    return sink.getvalue()


def parquet_that_lies() -> bytes:
    """A few rows, in a file that announces 2^62 of them: its footer's count, a zigzag number, is made longer."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"x1": [0.5] * 77, "x2": [0.5] * 77}), sink, compression="none")
    data = sink.getvalue()
    size = struct.unpack("<I", data[-8:-4])[0]
    body, footer = data[: -8 - size], data[-8 - size : -8]
    small, large = _zigzag(77), _zigzag(2**62)
    forged = footer.replace(b"\x16" + small, b"\x16" + large)
    assert forged != footer
    return body + forged + struct.pack("<I", len(forged)) + b"PAR1"


def _zigzag(number: int) -> bytes:
    rest, told = number << 1, b""
    while rest > 0x7F:
        told, rest = told + bytes([rest & 0x7F | 0x80]), rest >> 7
    return told + bytes([rest])


TABLES = {
    "arrow beyond its end": (ARROW, arrow_beyond_its_end),
    "arrow that is noise": (ARROW, lambda: b"\xff\xff\xff\xff" + b"\x7f" * 4096),
    "arrow that announces a huge schema": (ARROW, lambda: struct.pack("<iI", -1, 0x7FFFFFF0) + b"\0" * 64),
    "parquet that lies about its rows": (PARQUET, parquet_that_lies),
    "parquet with a footer beyond its start": (PARQUET, lambda: b"PAR1" + struct.pack("<I", 2**31) + b"PAR1"),
    "parquet of too many rows": (PARQUET, lambda: parquet(21_000_000)),
    "csv of one endless line": (CSV, lambda: b"x1,x2\n" + b"1" * (20 << 20)),
    "csv of a million columns": (CSV, lambda: b",".join(b"x%d" % n for n in range(1_000_000)) + b"\n"),
    "csv with an open quote": (CSV, lambda: b'x1,x2\n"' + b"1,2\n" * 100_000),
    "csv of nulls": (CSV, lambda: b"\0" * 100_000),
}

DEEP = b"[" * 1_000_000
JSON = {
    "brackets": DEEP,
    "brackets inside": b'{"model":"default","instances":' + DEEP,
    "braces": b'{"a":' * 500_000,
    "a huge number": b'{"instances":[[1e999999, 2]]}',
    "a long number": b'{"instances":[[' + b"9" * 1_000_000 + b", 2]]}",
    "not a number": b'{"instances":[[NaN, Infinity]]}',
    "half a surrogate": b'{"model":"\\ud800","instances":[[1,2]]}',
    "no UTF-8": b'{"model":"\xff\xfe","instances":[[1,2]]}',
    "two of a key": b'{"model":"default","model":"other","instances":[[1,2]]}',
    "a path for a model": b'{"model":"../../etc/passwd","instances":[[1,2]]}',
    "null bytes": b'{"model":"default\\u0000","instances":[[1,2]]}',
}


def messages(queue: str) -> list[bytes]:
    """What is no doorbell of ours, or one that was forged."""
    stranger = celery_message(Heard("predict", str(uuid.uuid4()), (str(uuid.uuid4()),), None), queue)
    headers: Any = stranger["headers"]
    return [
        *JUNK,
        msgspec.json.encode(stranger),
        msgspec.json.encode(stranger | {"properties": {"delivery_tag": []}}),
        msgspec.json.encode(stranger | {"headers": headers | {"task": "os.system"}}),
        msgspec.json.encode(stranger | {"content-type": "application/x-python-serialize", "body": "gASVAA=="}),
        msgspec.json.encode(stranger | {"headers": headers | {"version": 10**9}}),
        b'{"body":' + b"[" * 100_000,
    ]
