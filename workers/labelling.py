"""How a table of labels becomes two plain columns, piece by piece. Runs in a child process; see `tables`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from workers.pieces import MOST_ERRORS, Broken, Unusable, pieces

ID, ROW, LABEL = "prediction_id", "row", "label"
WHOLE = r"^\s*(0|[1-9][0-9]{0,11})\s*$"
Errors = list[dict[str, Any]]  # `loc` and `msg`, as a 422 has them


def read_labels(source: Path, target: Path, job_id: str | None) -> dict[str, Any]:
    """Write the prediction's id and the label of every row that has a label to `target`.

    Args:
        job_id: whose predictions the rows label, by the column `row` (never by place: readers of CSV skip empty lines).
            None: each row names its prediction in the column `prediction_id`.

    Returns:
        `rows` of the table, `missing`: those without a label, and the `ignored` columns.

    Raises:
        Unusable: a column is missing, a row cannot be read or names no row; with the first hundred faults.
    """
    broken, errors, rows, missing, ignored = Broken(), Errors(), 0, 0, list[str]()
    file = None
    for piece in pieces(source, broken):
        if file is None:
            ignored = _ignored(piece, job_id)
            schema = pa.schema({ID: pa.string(), LABEL: _plain(piece.schema.field(LABEL).type)})
            file = pa.ipc.new_file(target, schema)
        ids, faults = _ids(piece, job_id, rows)
        errors += faults
        labels = _cast(piece, LABEL, schema.field(LABEL).type, "text, truths or numbers of 64 bits")
        given = pc.and_(_given(labels), pc.is_valid(ids))
        file.write_table(pa.table([ids, labels], schema=schema).filter(given))
        missing += piece.num_rows - pc.sum(_given(labels), min_count=0).as_py()
        rows += piece.num_rows
        if max(len(errors), len(broken)) >= MOST_ERRORS:
            break
    if file is not None:
        file.close()
    _refuse(broken, errors, rows)
    return {"rows": rows, "missing": missing, "ignored": ignored}


def given_labels(table: pa.Table, start: int, stop: int) -> Iterator[tuple[str, Any]]:
    """(prediction's id, label) of rows [start, stop) of what `read_labels` wrote."""
    part = table.slice(start, stop - start)
    return zip(part[ID].to_pylist(), part[LABEL].to_pylist(), strict=True)


def _ignored(piece: pa.Table, job_id: str | None) -> list[str]:
    wanted = [ROW if job_id else ID, LABEL]
    missing = [name for name in wanted if name not in piece.column_names]
    if missing:
        raise Unusable(
            f"The column {missing[0]!r} is missing.",
            [{"loc": ["column", name], "msg": "the column is missing"} for name in missing],
        )
    return [name for name in piece.column_names if name not in wanted]


def _plain(type_: pa.DataType) -> pa.DataType:
    """What labels of this type are kept as: what Python has a plain value for."""
    type_ = type_.value_type if pa.types.is_dictionary(type_) else type_
    if pa.types.is_boolean(type_) or pa.types.is_integer(type_):
        return pa.bool_() if pa.types.is_boolean(type_) else pa.int64()
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return pa.float64()
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_null(type_):
        return pa.string()
    raise Unusable(f"The column 'label' holds {type_}: expected text, numbers or truths.")


def _given(labels: Any) -> Any:
    """Which rows have a label: in CSV an empty cell is none, in numbers neither is NaN."""
    if pa.types.is_floating(labels.type):
        return pc.invert(pc.is_null(labels, nan_is_null=True))
    if pa.types.is_string(labels.type):
        return pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(labels), ""), False)
    return pc.is_valid(labels)


def _ids(piece: pa.Table, job_id: str | None, start: int) -> tuple[Any, Errors]:
    """The predictions' ids of a piece whose first row is row `start`, null where there is a fault."""
    if job_id is None:
        texts = _cast(piece, ID, pa.string(), "text")
        return texts, _faults(pc.is_null(texts), start, ID, "is missing")
    texts = _cast(piece, ROW, pa.string(), "whole numbers")
    whole = pc.fill_null(pc.match_substring_regex(texts, WHOLE), False)
    ids = pc.binary_join_element_wise(job_id, pc.if_else(whole, pc.utf8_trim_whitespace(texts), None), ":")
    return ids, _faults(pc.invert(whole), start, ROW, "expected a row's number, from 0")


def _cast(piece: pa.Table, name: str, type_: pa.DataType, expected: str) -> Any:
    """One array: pyarrow 25 crashes where it looks for the places of truths in one of no chunks."""
    try:
        return piece[name].combine_chunks().cast(type_)
    except pa.ArrowException:
        raise Unusable(f"The column {name!r} holds {piece.schema.field(name).type}: expected {expected}.") from None


def _faults(mask: Any, start: int, name: str, msg: str) -> Errors:
    places = pc.indices_nonzero(mask).slice(0, MOST_ERRORS).to_pylist()
    return [{"loc": ["row", start + place, name], "msg": msg} for place in places]


def _refuse(broken: Broken, errors: Errors, rows: int) -> None:
    if broken:
        told = [{"loc": ["row", row], "msg": msg} for row, msg in broken[:MOST_ERRORS]]
        raise Unusable(f"Row {broken[0][0]}: {broken[0][1]}.", told)
    if errors:
        raise Unusable(f"Row {errors[0]['loc'][1]}, {errors[0]['loc'][2]}: {errors[0]['msg']}.", errors[:MOST_ERRORS])
    if rows == 0:
        raise Unusable("The table has no rows: expected at least one.")
