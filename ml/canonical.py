"""The same model, the same bytes: skops names objects by their addresses in memory, and zip notes the time of day.

Objects are numbered and files named in the order in which the schema speaks of them, single values lose their
number (whether two equal texts are one object is chance), addresses that scikit-learn keeps are forgotten, and
padding between the fields of a table is zero.
Whether two things are one object stays as it was, so a file loads to the same model.
"""

from __future__ import annotations

import io
import json
from typing import Any, Final
from zipfile import ZipFile, ZipInfo

import numpy as np

BEGINNING_OF_TIME: Final = (1980, 1, 1, 0, 0, 0)  # of zip files
SCHEMA: Final = "schema.json"
ADDRESSES: Final = {"_stop_words_id"}  # of a text vectoriser: whose stop words it has checked; valid in its process only


def canonical(data: bytes) -> bytes:
    """A skops file of the same content whose bytes depend on nothing but the model.

    Raises:
        zipfile.BadZipFile, KeyError: no skops file.
    """
    out = io.BytesIO()
    with ZipFile(io.BytesIO(data)) as source, ZipFile(out, "w") as target:
        names = _Names()
        schema = names.of(json.loads(source.read(SCHEMA)))
        for old, new in names.files.items():
            content = source.read(old)
            target.writestr(_entry(new), _without_padding(content) if old.endswith(".npy") else content)
        target.writestr(_entry(SCHEMA), json.dumps(schema, indent=2))
    return out.getvalue()


class _Names:
    """Numbers for ids and files, by first appearance; 0 would count as none."""

    def __init__(self) -> None:
        self.ids: dict[int, int] = {}
        self.files: dict[str, str] = {}

    def of(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.of(each) for each in node]
        if not isinstance(node, dict):
            return node
        loader = node.get("__loader__")
        return {key: self._value(key, value, loader) for key, value in node.items() if (key, loader) != ("__id__", "JsonNode")}

    def _value(self, key: str, value: Any, loader: str | None) -> Any:
        if loader is not None and key == "__id__":
            return self.ids.setdefault(value, len(self.ids) + 1)
        if loader is not None and key == "file" and isinstance(value, str):
            return self.files.setdefault(value, f"{len(self.files) + 1}.{value.rpartition('.')[2]}")
        return {**self.of(value), "content": "0"} if key in ADDRESSES else self.of(value)


def _entry(name: str) -> ZipInfo:
    return ZipInfo(name, BEGINNING_OF_TIME)


def _without_padding(content: bytes) -> bytes:
    """An array's file; of a table with gaps between its fields, these are memory that nobody has set."""
    table = np.load(io.BytesIO(content), allow_pickle=False)
    if table.dtype.names is None:
        return content
    clean = np.zeros(table.shape, table.dtype)
    for field in table.dtype.names:
        clean[field] = table[field]
    out = io.BytesIO()
    np.save(out, clean, allow_pickle=False)
    return out.getvalue()
