"""Rows as the formats of the contract, and the probabilities in an answer."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

MEDIA = {
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv",
    "json": "application/json",
}
FORMATS = tuple(MEDIA)
CLASS_1 = "probability_1"


def body_of(format_: str, rows: NDArray[np.float64], model: str) -> bytes:
    """The rows, features x1, x2, …, as a request's body."""
    if format_ == "json":
        return msgspec.json.encode({"model": model, "instances": rows.tolist()})
    table = pa.table({f"x{n}": rows[:, n - 1] for n in range(1, rows.shape[1] + 1)})
    out = io.BytesIO()
    if format_ == "arrow":
        with pa.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table, max_chunksize=65_536)
    elif format_ == "parquet":
        pa.parquet.write_table(table, out)
    else:
        pa.csv.write_csv(table, out)
    return out.getvalue()


def probabilities_in(format_: str, answer: bytes) -> NDArray[np.float64]:
    """The probability of class 1 of each row, shape (n,)."""
    if format_ == "json":
        told: Any = msgspec.json.decode(answer)
        return np.array([each["probabilities"]["1"] for each in told["predictions"]])
    if format_ == "arrow":
        table = pa.ipc.open_stream(answer).read_all()
    elif format_ == "parquet":
        table = pa.parquet.read_table(io.BytesIO(answer))
    else:
        table = pa.csv.read_csv(io.BytesIO(answer))
    found: NDArray[np.float64] = table[CLASS_1].to_numpy()
    return found
