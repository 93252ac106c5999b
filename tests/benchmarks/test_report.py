"""The bench writes its report into the documentation and nothing else there."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import table
from benchmarks.__main__ import PAGE


def test_only_what_stands_between_the_markers_is_replaced(tmp_path: Path) -> None:
    """Twice, so that the markers survive."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.write_into(page, "newer\n")
    table.write_into(page, "newest\n")
    assert page.read_text() == f"before\n{table.BEGIN}\nnewest\n{table.END}\nafter\n"


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    """And it is told."""
    page = tmp_path / "page.md"
    page.write_text("text\n")
    with pytest.raises(ValueError, match="markers"):
        table.write_into(page, "report")
    assert page.read_text() == "text\n"


def test_the_documentation_has_the_markers() -> None:
    """`--write-docs` would fail after a quarter of an hour."""
    assert table.BEGIN in PAGE.read_text()
    assert table.END in PAGE.read_text().partition(table.BEGIN)[2]
