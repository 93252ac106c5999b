"""Large JSON bodies, packed piece by piece: at once they would take five times their memory, and stop all else for long."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from problems.declaration import Problem
from problems.rows import InvalidRows, Loc, PackedRows, pack_instances

PIECE = 256 << 10  # bytes, and the rest of the row
_BETWEEN = re.compile(rb"[\]}]\s*,\s*[\[{]")


def pack_large(problem: Problem, instances: msgspec.Raw | bytes, loc: Loc = ("instances",)) -> PackedRows:
    """As `pack_instances`, with the same rows and the same faults, but for its memory.

    Rows are parted where one seems to end. If that was within a text, the piece ends in the middle of a string, which is
    no JSON, and the rows are read as a whole.
    """
    try:
        parts = [pack_instances(problem, piece, loc) for piece in _pieces(memoryview(instances))]
    except (InvalidRows, msgspec.DecodeError):
        return pack_instances(problem, instances, loc)
    texts = [tuple(value for part in parts for value in part.texts[k]) for k in range(len(problem.texts))]
    return PackedRows(sum(part.count for part in parts), b"".join(part.numbers for part in parts), tuple(texts))


def _pieces(view: memoryview) -> Iterator[bytes]:
    start, opening = 0, b""
    while between := _BETWEEN.search(view, start + PIECE):
        yield opening + view[start : between.start() + 1].tobytes() + b"]"
        start, opening = between.end() - 1, b"["
    yield opening + view[start:].tobytes()
