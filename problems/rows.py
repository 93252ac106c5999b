"""Rows as they travel from the API to a worker: checked, packed, and cheap to unpack."""

from __future__ import annotations

import json
import math
import sys
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from mmap import ACCESS_READ, mmap
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from problems.declaration import Feature, Problem

MAX_ERRORS: Final = 100
NAN: Final = math.nan
Column = tuple[str | None, ...]
Loc = tuple[int | str, ...]


class PackedRows(msgspec.Struct, frozen=True, gc=False):
    """Rows of one problem.

    Attributes:
        count: how many rows.
        numbers: float64, native order, row-major, count x len(problem.numbers); NaN is missing, booleans 0, 1. Of a file
            they are a view of it.
        texts: one column per problem.texts, each of `count` values; None is missing.
    """

    count: int
    numbers: bytes
    texts: tuple[Column, ...] = ()

    def encode(self) -> bytes:
        """As msgpack."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, packed: bytes) -> PackedRows:
        """The inverse of `encode`.

        Raises:
            msgspec.DecodeError: not such a message.
        """
        return _decoder.decode(packed)

    @classmethod
    def of_file(cls, path: Path) -> PackedRows:
        """As `decode`, but the numbers stay in the file: they are in the address space, not in memory."""
        with path.open("rb") as file:
            whole = mmap(file.fileno(), 0, access=ACCESS_READ)  # it ends with the last view of it
        seen = msgspec.msgpack.decode(whole, type=_Seen)
        return cls(seen.count, cast(bytes, seen.numbers), seen.texts)


_decoder = msgspec.msgpack.Decoder(PackedRows)


class _Seen(msgspec.Struct):  # PackedRows, but that msgspec gives a view of what is not to be copied
    count: int
    numbers: memoryview
    texts: tuple[Column, ...] = ()


def joined(parts: Sequence[PackedRows]) -> PackedRows:
    """The rows of all parts, at least one, of one problem; one under the other.

    Raises:
        ValueError: they are not equally wide: the problem has changed between them.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    numbers, counts = [part.numbers for part in parts], [part.count for part in parts]
    width = len(first.numbers) // first.count
    if list(map(len, numbers)) != [width * count for count in counts]:
        raise ValueError("rows of several widths")
    texts = tuple(tuple(chain.from_iterable(columns)) for columns in zip(*(part.texts for part in parts), strict=True))
    return PackedRows(sum(counts), b"".join(numbers), texts)


@dataclass(frozen=True, slots=True)
class RowError:
    """One fault; `loc` as ("instances", 7, "x2"), rows counted from 0."""

    loc: Loc
    msg: str


class InvalidRows(ValueError):
    """Rows that the problem cannot take; `errors` holds the first hundred faults."""

    def __init__(self, errors: list[RowError]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, e.loc))}: {e.msg}" for e in errors[:3]))
        self.errors = errors


def pack_instances(problem: Problem, instances: msgspec.Raw | bytes | list[Any], loc: Loc = ("instances",)) -> PackedRows:
    """Check JSON rows (lists or objects) against the problem and pack them.

    Args:
        problem: whose features to expect.
        instances: a JSON array, raw or decoded.
        loc: where the array stands in the request, for the faults.

    Raises:
        InvalidRows: naming row (from 0) and feature of the first hundred faults.
        msgspec.DecodeError: raw bytes that are not JSON at all (NaN and Infinity are told as faults).
    """
    features, dropped = problem.features, (problem.label, *problem.ignore)
    objects = _first_row(instances) == "{"
    read = _object_reader(features, dropped) if objects else _list_reader(features)
    try:
        rows = read(instances)
    except msgspec.DecodeError:
        rows = _explain(features, dropped, _as_python(instances), loc)
    return _pack(features, rows, loc, finite=not isinstance(instances, list))


def _first_row(instances: msgspec.Raw | bytes | list[Any]) -> str:
    if isinstance(instances, list):
        return "{" if instances and isinstance(instances[0], dict) else "["
    return bytes(memoryview(instances)[:64]).lstrip()[1:].lstrip()[:1].decode("latin-1")


def _as_python(instances: msgspec.Raw | bytes | list[Any]) -> object:
    if isinstance(instances, list):
        return instances
    try:
        return json.loads(bytes(instances))
    except (ValueError, RecursionError) as wrong:
        raise msgspec.DecodeError(f"the instances are not JSON: {wrong}") from wrong


# ---- the fast path: msgspec checks types and widths in C

Reader = Callable[[Any], Sequence[tuple[Any, ...]]]
_TYPES: Final[dict[str, Any]] = {
    "number": float,
    "boolean": bool,
    "category": str | int | float | bool,
    "text": str,
}


def _value_type(feature: Feature) -> Any:
    return _TYPES[feature.type] | None if feature.optional else _TYPES[feature.type]


@lru_cache(maxsize=256)
def _list_reader(features: tuple[Feature, ...]) -> Reader:
    return _reader(list[tuple[*(_value_type(f) for f in features)]])  # type: ignore[misc]  # built at run time


@lru_cache(maxsize=256)
def _object_reader(features: tuple[Feature, ...], dropped: tuple[str, ...]) -> Reader:
    """Objects, keys in any order; optional features may be absent, the label and ignored columns there."""
    names = {f"f{i}": feature.name for i, feature in enumerate(features)} | {f"d{i}": name for i, name in enumerate(dropped)}
    fields: list[Any] = [
        (f"f{i}", _value_type(f), None) if f.optional else (f"f{i}", _value_type(f)) for i, f in enumerate(features)
    ]
    fields += [(f"d{i}", Any, None) for i, _ in enumerate(dropped)]
    row = msgspec.defstruct("Row", fields, kw_only=True, rename=names, forbid_unknown_fields=True, gc=False)
    read, order = _reader(list[row]), [f"f{i}" for i, _ in enumerate(features)]  # type: ignore[valid-type]
    return lambda instances: [tuple([getattr(each, name) for name in order]) for each in read(instances)]


def _reader(type_: Any) -> Reader:
    decoder = msgspec.json.Decoder(type_)

    def read(instances: Any) -> Any:
        return msgspec.convert(instances, type_) if isinstance(instances, list) else decoder.decode(instances)

    return read


# ---- the slow path: every fault, with its place


def _explain(features: tuple[Feature, ...], dropped: tuple[str, ...], instances: object, loc: Loc) -> list[tuple[Any, ...]]:
    """The rows one by one, for a mixture of lists and objects, or to say what is wrong with which."""
    if not isinstance(instances, list):
        raise InvalidRows([RowError(loc, "expected a list of rows")])
    rows: list[tuple[Any, ...]] = []
    errors: list[RowError] = []
    for number, given in enumerate(instances):
        here = (*loc, number)
        values, faults = _one_row(features, dropped, given, here)
        errors += faults or [error for f, v in zip(features, values, strict=True) if (error := _fault(f, v, here))]
        rows.append(values)
        if len(errors) >= MAX_ERRORS:
            break
    if errors:
        raise InvalidRows(errors[:MAX_ERRORS])
    return rows


def _one_row(
    features: tuple[Feature, ...], dropped: tuple[str, ...], given: object, here: Loc
) -> tuple[tuple[Any, ...], list[RowError]]:
    if isinstance(given, list):
        if len(given) == len(features):
            return tuple(given), []
        return (), [RowError(here, f"expected {len(features)} values ({_names(features)}), got {len(given)}")]
    if not isinstance(given, dict):
        return (), [RowError(here, "expected a list of values or an object")]
    known = {f.name for f in features}
    faults = [RowError((*here, str(key)), "no such feature") for key in given if key not in known and key not in dropped]
    faults += [RowError((*here, f.name), "is missing") for f in features if f.name not in given and not f.optional]
    return tuple(given.get(f.name) for f in features), faults


def _names(features: tuple[Feature, ...]) -> str:
    return ", ".join(f.name for f in features[:8]) + (", …" if len(features) > 8 else "")


def _fault(feature: Feature, value: object, here: Loc) -> RowError | None:
    if value is None:
        return None if feature.optional else RowError((*here, feature.name), "is missing and not optional")
    expected = {
        "number": "a finite number",
        "boolean": "true or false",
        "category": "text or a number",
        "text": "text",
    }
    return None if _fits(feature, value) else RowError((*here, feature.name), f"expected {expected[feature.type]}")


def _fits(feature: Feature, value: object) -> bool:
    if feature.type == "boolean":
        return isinstance(value, bool)
    if isinstance(value, str):
        return feature.type in ("category", "text") and not any("\ud800" <= letter <= "\udfff" for letter in value)
    if isinstance(value, bool):
        return feature.type == "category"
    return feature.type in ("number", "category") and isinstance(value, int | float) and abs(value) <= sys.float_info.max


# ---- packing


def _pack(features: tuple[Feature, ...], rows: Sequence[tuple[Any, ...]], loc: Loc, finite: bool) -> PackedRows:
    """`finite`: no number can be NaN or infinite, for the rows were JSON, which has neither."""
    if not rows:
        raise InvalidRows([RowError(loc, "expected at least one row")])
    numbers = [i for i, f in enumerate(features) if f.type in ("number", "boolean")]
    texts = [i for i, f in enumerate(features) if f.type in ("category", "text")]
    cells = _cells(rows, numbers, whole=not texts)
    if any(features[i].optional for i in numbers):
        cells = (NAN if value is None else value for value in cells)
    packed = array("d", cells)
    if not finite and not all(map(math.isfinite, packed)):
        _refuse_infinities(features, rows, loc)
    columns = tuple(tuple([_text(row[i]) for row in rows]) for i in texts)
    return PackedRows(len(rows), packed.tobytes(), columns)


def _cells(rows: Sequence[tuple[Any, ...]], numbers: list[int], whole: bool) -> Any:
    if whole:
        return chain.from_iterable(rows)
    if len(numbers) == 1:
        return map(itemgetter(numbers[0]), rows)
    return chain.from_iterable(map(itemgetter(*numbers), rows)) if numbers else ()


def _refuse_infinities(features: tuple[Feature, ...], rows: Sequence[tuple[Any, ...]], loc: Loc) -> None:
    """NaN that stands for a missing value is no fault; decoded instances may hold others."""
    errors = [
        RowError((*loc, number, feature.name), "expected a finite number")
        for number, row in enumerate(rows)
        for feature, value in zip(features, row, strict=True)
        if isinstance(value, float) and not math.isfinite(value)
    ]
    if errors:
        raise InvalidRows(errors[:MAX_ERRORS])


def _text(value: Any) -> str | None:
    """Text as it is; a number or boolean of a category as its JSON text."""
    return value if value is None or isinstance(value, str) else json.dumps(value)
