"""Large JSON bodies are packed in pieces: what comes out, and what is refused, is as if they were one."""

from __future__ import annotations

import json

import msgspec
import pytest

from problems import large
from problems.large import pack_large
from problems.rows import InvalidRows, pack_instances
from tests.problems.test_rows import FAULTS, MIXED, PLANE


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "PIECE", 32)


@pytest.mark.parametrize("spaces", [(",", ":"), (" , ", " : "), (",\n", ":")])
@pytest.mark.parametrize("objects", [False, True])
def test_pieces_make_the_same_rows(objects: bool, spaces: tuple[str, str]) -> None:
    """Lists and objects, tight or with spaces, numbers and texts; some texts look like the end of a row."""
    texts = ["plain", "],[1,", "}, {", '"]  ,  [', "é]\\", "]"]
    rows = [[None if n % 3 else n / 7, f"c{n % 4}", n % 2 == 0, texts[n % 6]] for n in range(100)]
    names = [feature.name for feature in MIXED.features]
    given = [dict(zip(names, row, strict=True)) for row in rows] if objects else rows
    body = json.dumps(given, separators=spaces).encode()
    assert pack_large(MIXED, msgspec.Raw(body)) == pack_instances(MIXED, body)


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_told_as_it_would_be_of_one_piece(case: str) -> None:
    """Behind fifty good rows, so that it stands in a later piece: same place, same words."""
    whose, body, _ = FAULTS[case]
    good = [[1.5, 2.5]] if whose is PLANE else [[1.5, "x", True, "t"]]
    body = json.dumps(good * 50).encode()[:-1] + b"," + body[1:] if body[:1] == b"[" and body != b"[]" else body
    with pytest.raises(InvalidRows) as whole:
        pack_instances(whose, body)
    with pytest.raises(InvalidRows) as pieces:
        pack_large(whose, body)
    assert pieces.value.errors == whole.value.errors


def test_pieces_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call sees more of a body than a piece and a row."""
    seen: list[int] = []

    def spy(problem: object, piece: bytes, loc: object) -> object:
        seen.append(len(piece))
        return pack_instances(PLANE, piece)

    monkeypatch.setattr(large, "pack_instances", spy)
    assert pack_large(PLANE, json.dumps([[1.0, 2.0]] * 1000).encode()).count == 1000
    assert len(seen) > 100 and max(seen) < 64


@pytest.mark.parametrize("body", [b"[" * 100_000, b"[[1,2],[3,4]" * 20, b"[[1,2],[3,4]],[[5,6]" + b" " * 50])
def test_what_is_no_json_is_a_decode_error(body: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, InvalidRows)):
        pack_large(PLANE, body)
