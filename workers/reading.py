"""How a table becomes checked columns. Runs in a child process; see `tables`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq

from problems.declaration import Feature, Problem
from problems.labels import InvalidLabel, Label, parse_label

MOST_ROWS = 20_000_000
MOST_ERRORS = 100
Mask = Any  # a boolean pyarrow array, one value a row


class Unusable(Exception):
    """The table cannot be used: one sentence, and faults with place and message."""

    def __init__(self, message: str, errors: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.kind = "invalid_rows"
        self.errors = list(errors) or [{"loc": ["body"], "msg": message}]


def read_features(problem: Problem, source: Path, target: Path) -> dict[str, Any]:
    """Write the features of every row to `target`; one bad cell refuses the table.

    Raises:
        Unusable: naming row (from 0, without the header) and feature of the first hundred faults.
    """
    table, broken = _table(source)
    if broken:
        raise Unusable(
            f"Row {broken[0][0]}: {broken[0][1]}.",
            [{"loc": ["row", row], "msg": msg} for row, msg in broken[:MOST_ERRORS]],
        )
    _known_columns(problem, table)
    if table.num_rows == 0:
        raise Unusable("The table has no rows: expected at least one.")
    columns, faults = _features(problem, table)
    errors = sorted(
        ({"loc": ["row", row, name], "msg": msg} for name, mask, msg in faults for row in _rows(mask, MOST_ERRORS)),
        key=lambda error: int(error["loc"][1]),  # type: ignore[call-overload]
    )
    if errors:
        row, name = errors[0]["loc"][1:]
        raise Unusable(f"Row {row}, {name}: {errors[0]['msg']}.", errors[:MOST_ERRORS])
    _write(target, columns)
    return {"rows": table.num_rows}


def read_labelled(problem: Problem, source: Path, target: Path, classes: list[Label]) -> dict[str, Any]:
    """Write the usable rows, features and label, to `target`, and say how many were left out and why.

    Raises:
        Unusable: a column is missing, or no row can be used.
    """
    table, broken = _table(source)
    _needed_columns(table, [*(f.name for f in problem.features), problem.label])
    columns, faults = _features(problem, table)
    labels, bad_label, label_msg = _labels(problem, table[problem.label], classes)
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
    _write(target, kept)
    used = {*(f.name for f in problem.features), problem.label}
    ignored = [name for name in table.column_names if name not in used]
    return {
        "rows": rows,
        "rejected": table.num_rows - rows + len(broken),
        "report": {"ignored_columns": ignored, "rejected": reasons},
        "classes": _classes(problem, kept[problem.label]),
    }


# ---- the file


def _table(source: Path) -> tuple[pa.Table, list[tuple[int, str]]]:
    """The table, and the rows that are none (CSV rows of another width)."""
    readers: dict[str, Callable[[Path], tuple[pa.Table, list[tuple[int, str]]]]] = {
        ".csv": _csv,
        ".parquet": lambda path: (_parquet(path), []),
        ".arrow": lambda path: (_arrow(path), []),
    }
    try:
        table, broken = readers[source.suffix](source)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, KeyError) as wrong:
        raise Unusable(f"The body is not readable as {source.suffix[1:]}: {_first_line(wrong)}.") from wrong
    if len(set(table.column_names)) < len(table.column_names):
        twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
        raise Unusable(f"The table has two columns of one name: {', '.join(twice)}.")
    return table, broken


def _first_line(wrong: Exception) -> str:
    return str(wrong).strip().splitlines()[0][:200].rstrip(".") if str(wrong).strip() else type(wrong).__name__


def _csv(path: Path) -> tuple[pa.Table, list[tuple[int, str]]]:
    broken: list[tuple[int, str]] = []

    def note(row: pa.csv.InvalidRow) -> str:
        broken.append(((row.number or 2) - 2, f"expected {row.expected_columns} cells, got {row.actual_columns}"))
        return "skip"

    with path.open("rb") as file:
        header = pa.csv.open_csv(file, read_options=pa.csv.ReadOptions(use_threads=False, block_size=1 << 20)).schema.names
    options = pa.csv.ConvertOptions(
        column_types={name: pa.string() for name in header},
        strings_can_be_null=True,
        null_values=[""],
        quoted_strings_can_be_null=False,
    )
    with path.open("rb") as file:
        table = pa.csv.read_csv(
            file,
            read_options=pa.csv.ReadOptions(use_threads=False),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
            convert_options=options,
        )
    return table, broken


def _parquet(path: Path) -> pa.Table:
    file = pq.ParquetFile(path, thrift_string_size_limit=64 << 20, thrift_container_size_limit=1 << 20)
    if file.metadata.num_rows > MOST_ROWS:
        raise ValueError(f"it announces {file.metadata.num_rows} rows, at most {MOST_ROWS} are taken")
    return file.read(use_threads=False)


def _arrow(path: Path) -> pa.Table:
    with path.open("rb") as file, pa.ipc.open_stream(file) as stream:
        batches = []
        for batch in stream:
            batch.validate(full=True)
            batches.append(batch)
        return pa.Table.from_batches(batches, stream.schema)


def _write(target: Path, columns: dict[str, Any]) -> None:
    table = pa.table(columns)
    with pa.ipc.new_file(target, table.schema) as file:
        file.write_table(table, max_chunksize=65_536)


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
        column, wrong = _typed(feature, given)
        columns[feature.name] = column
        faults.append((feature.name, wrong, f"expected {_expected(feature)}"))
        if not feature.optional:
            faults.append((feature.name, pc.and_(pc.is_null(column), pc.invert(wrong)), "is missing and not optional"))
    return columns, faults


def _expected(feature: Feature) -> str:
    return {
        "number": "a finite number",
        "boolean": "true or false",
        "category": "text or a number",
        "text": "text",
    }[feature.type]


def _flat(column: Any) -> Any:
    flat = column.combine_chunks()
    flat = flat.chunk(0) if isinstance(flat, pa.ChunkedArray) and flat.num_chunks == 1 else flat
    flat = pa.concat_arrays(flat.chunks) if isinstance(flat, pa.ChunkedArray) else flat
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
