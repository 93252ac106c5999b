"""Tables of rows on their way to the API: a file, or what was read of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

MEDIA = {
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".pq": "application/vnd.apache.parquet",
    ".arrow": "application/vnd.apache.arrow.stream",
    ".arrows": "application/vnd.apache.arrow.stream",
}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as a file holds them; the name's ending says which form that is.

    Attributes:
        name: ends in .csv, .parquet, .pq, .arrow or .arrows.
        content: the file's bytes; None where `name` is a path to be read when it is sent.
    """

    name: str
    content: bytes | None = None

    @property
    def media(self) -> str:
        """The media type.

        Raises:
            ValueError: the name ends otherwise.
        """
        return media_of(self.name)

    def opener(self) -> Callable[[], bytes | IO[bytes]]:
        """Gives the body, as often as it has to be sent."""
        content = self.content
        return (lambda: content) if content is not None else (lambda: Path(self.name).open("rb"))


def media_of(name: str) -> str:
    """The media type of a file's name.

    Raises:
        ValueError: it has an ending that no table has.
    """
    ending = Path(name).suffix.lower()
    if ending not in MEDIA:
        raise ValueError(f"{name}: expected a name that ends in {', '.join(MEDIA)}")
    return MEDIA[ending]
