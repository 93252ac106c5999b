"""How a table becomes checked columns, piece by piece. Runs in a child process; see `tables`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from problems.declaration import Feature, Problem
from problems.labels import InvalidLabel, Label, parse_label
from storage.artifacts import SyncedBehind
from workers import validation
from workers.pieces import MOST_ERRORS, PIECE, Broken, NotNumbers, Unusable, pieces
from workers.validation import Known

CRUMBS = 1_000  # rows: pieces that are smaller on average are written anew
Mask = Any  # a boolean pyarrow array, one value a row
Errors = list[dict[str, Any]]  # `loc` and `msg`, as a 422 has them
Columns = dict[str, Any]


def as_is(problem: Problem, source: Path) -> bool:
    """Check an Arrow stream, and say whether its rows can be read where they are.

    Else they must be written anew: they have other types, are compressed, or lie in crumbs.

    Raises:
        Unusable: see `read_features`.
    """
    stored = {f.name: pa.float64() if f in problem.numbers else pa.string() for f in problem.features}
    before, rows, count = pa.total_allocated_bytes(), 0, 0
    for piece, _ in _checked(problem, source, []):
        decompressed = pa.total_allocated_bytes() - before > max(piece.nbytes // 2, 1 << 16)
        if decompressed or {field.name: field.type for field in piece.schema} != stored:
            return False
        rows, count = rows + piece.num_rows, count + 1
    return rows >= CRUMBS * (count - 2)  # the first piece is empty, the last one may be small


def read_features(problem: Problem, source: Path, target: Path) -> int:
    """Write the features of every row to `target`, and say how many rows there are; one bad cell refuses the table.

    Raises:
        Unusable: naming row (from 0, without the header) and feature of the first hundred faults.
    """
    try:
        return _write_checked(problem, source, target, [f.name for f in problem.features if f.type == "number"])
    except NotNumbers:
        return _write_checked(problem, source, target, [])


def _write_checked(problem: Problem, source: Path, target: Path, numbers: Sequence[str]) -> int:
    rows, file = 0, None
    with target.open("wb") as sink, SyncedBehind(sink.fileno()) as disk:
        for piece, columns in _checked(problem, source, numbers):
            table = pa.table(columns)
            file = file or pa.ipc.new_file(sink, table.schema)
            file.write_table(table)
            disk.wrote(table.nbytes)
            rows += piece.num_rows
        if file:
            file.close()
    return rows


def _checked(problem: Problem, source: Path, numbers: Sequence[str]) -> Iterator[tuple[pa.Table, Columns]]:
    """Piece after piece with its features in their stored types, until the first fault.

    Raises:
        Unusable: at the end, or as soon as a hundred faults are known; there are no rows.
        NotNumbers: see `pieces`.
    """
    rows, broken, errors = 0, Broken(), Errors()
    for piece in pieces(source, broken, numbers):
        if rows == 0:
            _known_columns(problem, piece)
        columns, faults = _features(problem, piece)
        errors += _told(faults, rows)
        rows += piece.num_rows
        if max(len(errors), len(broken)) >= MOST_ERRORS:
            break
        if not errors and not broken:
            yield piece, columns
    if broken:
        told = [{"loc": ["row", row], "msg": msg} for row, msg in broken[:MOST_ERRORS]]
        raise Unusable(f"Row {broken[0][0]}: {broken[0][1]}.", told)
    if errors:
        row, name = errors[0]["loc"][1:]
        raise Unusable(f"Row {row}, {name}: {errors[0]['msg']}.", errors[:MOST_ERRORS])
    if rows == 0:
        raise Unusable("The table has no rows: expected at least one.")


def _told(faults: list[tuple[str, Mask, str]], start: int) -> Errors:
    """The faults of a piece whose first row is row `start`, by row."""
    told = [{"loc": ["row", start + row, name], "msg": msg} for name, mask, msg in faults for row in _rows(mask, MOST_ERRORS)]
    return sorted(told, key=lambda error: int(error["loc"][1]))


def read_labelled(problem: Problem, source: Path, target: Path, known: Known) -> dict[str, Any]:
    """Write the usable rows, features and label, to `target`, and say how many were left out and why.

    Raises:
        Unusable: a column is missing, or no row can be used.
    """
    broken = Broken()
    table = pa.concat_tables(pieces(source, broken))
    _needed_columns(table, [*(f.name for f in problem.features), problem.label])
    columns, faults = _features(problem, table)
    labels, bad_label, label_msg = _labels(problem, table[problem.label], known.classes)
    faults.append((problem.label, bad_label, label_msg))
    keep, reasons = _keep(table.num_rows, faults)
    if broken:
        reasons["unreadable row"] = len(broken)
    kept = {name: column.filter(keep) for name, column in columns.items()} | {problem.label: labels.filter(keep)}
    rows = len(kept[problem.label])
    if rows == 0:
        raise Unusable(
            f"No row of the table can be used: {json.dumps(reasons, ensure_ascii=False) if reasons else 'it is empty'}."
        )
    whole = pa.table(kept)
    with pa.ipc.new_file(target, whole.schema) as file:
        file.write_table(whole, max_chunksize=PIECE)
    used = {*(f.name for f in problem.features), problem.label}
    numbers = validation.numbering(table.num_rows, broken)
    report = {
        "ignored_columns": [name for name in table.column_names if name not in used],
        "rejected": reasons,
        "examples": validation.examples(table, faults, broken, numbers),
        "warnings": validation.oddities(problem, known, whole, numbers[np.asarray(keep)]),
        "missing": {f.name: count for f in problem.features if (count := whole[f.name].null_count)},
    }
    return {
        "rows": rows,
        "rejected": table.num_rows - rows + len(broken),
        "report": report,
        "classes": _classes(problem, kept[problem.label]),
    }


# ---- columns


def _known_columns(problem: Problem, table: pa.Table) -> None:
    _needed_columns(table, [f.name for f in problem.features if not f.optional])
    known = {*(f.name for f in problem.features), problem.label, *problem.ignore}
    extra = [name for name in table.column_names if name not in known]
    if extra:
        raise Unusable(
            f"Unknown column {extra[0]!r}.",
            [{"loc": ["column", name], "msg": "no such feature"} for name in extra[:MOST_ERRORS]],
        )


def _needed_columns(table: pa.Table, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in table.column_names]
    if missing:
        errors = [{"loc": ["column", name], "msg": "the column is missing"} for name in missing[:MOST_ERRORS]]
        raise Unusable(f"The column {missing[0]!r} is missing.", errors)


def _features(problem: Problem, table: pa.Table) -> tuple[dict[str, Any], list[tuple[str, Mask, str]]]:
    """Each feature's column in its stored type, and masks of the rows that do not fit."""
    columns: dict[str, Any] = {}
    faults: list[tuple[str, Mask, str]] = []
    for feature in problem.features:
        if feature.name not in table.column_names:
            columns[feature.name] = pa.nulls(table.num_rows, pa.float64() if feature in problem.numbers else pa.string())
            continue
        given = _flat(table[feature.name])
        if feature.type == "number" and _is_plain(given):
            columns[feature.name] = given
            continue
        column, wrong = _typed(feature, given)
        columns[feature.name] = column
        faults.append((feature.name, wrong, f"expected {_expected(feature)}"))
        if not feature.optional:
            faults.append((feature.name, pc.and_(pc.is_null(column), pc.invert(wrong)), "is missing and not optional"))
    return columns, faults


def _is_plain(column: Any) -> bool:
    """Whether these are float64 and nothing else; their sum is not finite where one of them is not (and says no too often)."""
    return column.type == pa.float64() and column.null_count == 0 and math.isfinite(pc.sum(column, min_count=0).as_py())


def _expected(feature: Feature) -> str:
    return {
        "number": "a finite number",
        "boolean": "true or false",
        "category": "text or a number",
        "text": "text",
    }[feature.type]


def _flat(column: Any) -> Any:
    """One array of plain values; what is one array already stays where it lies."""
    flat = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])
    return flat.dictionary_decode() if pa.types.is_dictionary(flat.type) else flat


def _typed(feature: Feature, given: Any) -> tuple[Any, Mask]:
    if pa.types.is_null(given.type):
        return given.cast(pa.float64() if feature.type in ("number", "boolean") else pa.string()), _none(given)
    if feature.type == "number":
        return _number(given, feature.optional)
    return {"boolean": _boolean, "category": _category, "text": _text}[feature.type](given)


def _none(given: Any) -> Mask:
    return pa.array([False] * len(given), pa.bool_()) if len(given) < 1 else pc.and_(pc.is_valid(given), pa.scalar(False))


def _all(given: Any) -> Mask:
    return pc.is_valid(given)


NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def _number(given: Any, optional: bool) -> tuple[Any, Mask]:
    if pa.types.is_string(given.type) or pa.types.is_large_string(given.type):
        trimmed = pc.utf8_trim_whitespace(given)
        good = pc.match_substring_regex(trimmed, NUMBER)
        column = pc.if_else(pc.fill_null(good, False), trimmed, None).cast(pa.float64())
        wrong = pc.and_(pc.is_valid(given), pc.invert(pc.fill_null(good, False)))
    elif pa.types.is_integer(given.type) or pa.types.is_floating(given.type) or pa.types.is_decimal(given.type):
        column, wrong = given.cast(pa.float64(), safe=False), _none(given)
    else:
        return pa.nulls(len(given), pa.float64()), _all(given)
    if optional:
        column = pc.if_else(pc.fill_null(pc.is_nan(column), False), None, column)
    infinite = pc.invert(pc.is_finite(column))
    return column, pc.or_(wrong, pc.fill_null(infinite, False))


TRUTHS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}


def _boolean(given: Any) -> tuple[Any, Mask]:
    if pa.types.is_boolean(given.type):
        return given.cast(pa.float64()), _none(given)
    if not (pa.types.is_string(given.type) or pa.types.is_large_string(given.type) or pa.types.is_integer(given.type)):
        return pa.nulls(len(given), pa.float64()), _all(given)
    text = pc.utf8_lower(pc.utf8_trim_whitespace(given.cast(pa.string())))
    column = pa.nulls(len(given), pa.float64())
    for word, value in TRUTHS.items():
        column = pc.if_else(pc.fill_null(pc.equal(text, word), False), pa.scalar(value), column)
    return column, pc.and_(pc.is_valid(given), pc.is_null(column))


def _category(given: Any) -> tuple[Any, Mask]:
    if pa.types.is_floating(given.type):
        return pa.array([None if v is None or v != v else json.dumps(v) for v in given.to_pylist()], pa.string()), _none(given)
    return _text(given)


def _text(given: Any) -> tuple[Any, Mask]:
    try:
        return given.cast(pa.string()), _none(given)
    except pa.ArrowException:  # lists, structs, bytes that are not UTF-8
        return pa.nulls(len(given), pa.string()), _all(given)


# ---- labels and what is kept


def _labels(problem: Problem, column: Any, classes: list[Label]) -> tuple[Any, Mask, str]:
    """Labels in the type they are taught with; null where they cannot be used."""
    given = _flat(column)
    if problem.task == "regression":
        numbers, wrong = _number(given, False) if not pa.types.is_null(given.type) else (given.cast(pa.float64()), _none(given))
        return numbers, pc.or_(wrong, pc.is_null(numbers)), "the label is missing or not a finite number"
    values = _native(given)
    known: list[Label] = list(classes)
    read = {value: _label(problem, value, known) for value in dict.fromkeys(v for v in values if v is not None)}
    labels = [None if value is None else read[value] for value in values]
    type_ = pa.bool_() if any(isinstance(v, bool) for v in read.values()) else None
    column = pa.array(labels, type_) if any(v is not None for v in labels) else pa.nulls(len(labels), pa.int64())
    return column, pc.is_null(column), "the label is missing, or one that the task cannot have"


def _label(problem: Problem, value: Any, known: list[Label]) -> Label | None:
    """The label, or None if it cannot be one; a label that is new becomes known."""
    try:
        label = parse_label(problem, value, known)
    except InvalidLabel:
        return None
    if label not in known:
        known.append(label)
    return label


def _native(given: Any) -> list[Any]:
    """Values in Python's types. Text, as CSV has it, is read as whole numbers or truths where all of it (nearly) is."""
    if not (pa.types.is_string(given.type) or pa.types.is_large_string(given.type)):
        return [None if isinstance(value, float) and value != value else value for value in given.to_pylist()]
    texts = [None if value is None else value.strip() for value in given.to_pylist()]
    filled = [text for text in texts if text]
    numeric = sum(_whole(text) is not None for text in filled)
    if filled and numeric >= 0.9 * len(filled):
        return [None if not text else _whole(text) if _whole(text) is not None else text for text in texts]
    if filled and all(text.lower() in ("true", "false") for text in filled):
        return [None if not text else text.lower() == "true" for text in texts]
    return [text or None for text in texts]


def _whole(text: str) -> int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else None


def _keep(rows: int, faults: list[tuple[str, Mask, str]]) -> tuple[Mask, dict[str, int]]:
    keep: Any = pa.array([True] * rows, pa.bool_())
    reasons: dict[str, int] = {}
    for name, mask, msg in faults:
        count = pc.sum(mask).as_py() or 0
        if count:
            reasons[f"{name}: {msg}"] = count
            keep = pc.and_(keep, pc.invert(mask))
    return keep, reasons


def _rows(mask: Mask, most: int) -> list[int]:
    found: list[int] = pc.indices_nonzero(mask).slice(0, most).to_pylist()
    return found


def _classes(problem: Problem, labels: Any) -> list[Any]:
    return [] if problem.task == "regression" else sorted(pc.unique(labels).to_pylist(), key=str)
