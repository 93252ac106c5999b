"""What is told: one frozen Message, and its form as a Discord embed within the documented limits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Kind = Literal["success", "failure", "warning", "drift", "info"]
COLOURS: dict[Kind, int] = {
    "success": 0x2ECC71,
    "failure": 0xE74C3C,
    "warning": 0xF1C40F,
    "drift": 0xE67E22,
    "info": 0x3498DB,
}
FOOTER = "continual-ml · service"
IMAGE_NAME = "accuracy.png"

# https://discord.com/developers/docs/resources/message#embed-object-embed-limits, in characters.
TITLE, DESCRIPTION, FIELDS, FIELD_NAME, FIELD_VALUE, TOTAL = 256, 4096, 25, 256, 1024, 6000
# Whatever Discord could read as Markdown, a mention, an emoji or a link; a backslash shows it as it is.
_MARKUP = re.compile(r"[\\*_~`|<>\[\]()#@]|:(?=//|[A-Za-z_]\w*:)|^-(?=[\s#])")


@dataclass(frozen=True, slots=True)
class Message:
    """One incident as it stands now; all text is plain: the adapters escape what users named.

    Attributes:
        kind: chooses the colour.
        title: one line.
        lines: the incident's timeline, oldest first.
        fields: pairs of name and value.
        model: the model it is about, or None for the service itself.
        at: time of the last change, epoch seconds UTC.
        links: where to read more: pairs of a word and an http(s) URL; the title leads to the first.
        image: a PNG, or None.
    """

    kind: Kind
    title: str
    lines: tuple[str, ...]
    fields: tuple[tuple[str, str], ...]
    model: str | None
    at: float
    links: tuple[tuple[str, str], ...] = ()
    image: bytes | None = None


def embed(message: Message) -> dict[str, Any]:
    """The message as a Discord embed, cut with … where it would break a limit.

    A timeline that is too long loses its oldest lines; fields beyond 6,000 characters in sum are left out.
    """
    title = _cut(_escape(message.title), TITLE)
    description = _timeline(message.lines)
    links = _links(message.links)
    said = (title, description, FOOTER, *(each[part] for each in links for part in ("name", "value")))
    left = TOTAL - sum(map(_size, said))
    pairs = (*((("Model", message.model),) if message.model else ()), *message.fields)
    made: dict[str, Any] = {
        "title": title,
        "description": description,
        "color": COLOURS[message.kind],
        "fields": _fields(pairs, left)[: FIELDS - len(links)] + links,
        "footer": {"text": FOOTER},
        "timestamp": rfc3339(message.at),
    }
    if message.links:
        made["url"] = message.links[0][1]
    if message.image is not None:
        made["image"] = {"url": f"attachment://{IMAGE_NAME}"}
    return made


def rfc3339(at: float) -> str:
    """Epoch seconds as RFC 3339 UTC with milliseconds, `2026-11-21T06:30:00.123Z`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _timeline(lines: Iterable[str]) -> str:
    """Lines joined, oldest first; the newest are those that are kept."""
    kept: list[str] = []
    room = DESCRIPTION
    for line in reversed([_cut(_escape(line), DESCRIPTION - 2) for line in lines]):
        room -= _size(line) + 1
        if room < 1:  # one character stays free for the … that stands for what is left out
            kept.append("…")
            break
        kept.append(line)
    return "\n".join(reversed(kept))


def _fields(pairs: Iterable[tuple[str, str]], left: int) -> list[dict[str, Any]]:
    """At most 25 fields of at most `left` characters together; Discord refuses empty names and values."""
    made: list[dict[str, Any]] = []
    for plain_name, plain_value in pairs:
        name = _cut(_escape(plain_name) or "-", FIELD_NAME)
        value = _cut(_escape(plain_value) or "-", FIELD_VALUE)
        left -= _size(name) + _size(value)
        if left < 0 or len(made) == FIELDS:
            break
        made.append({"name": name, "value": value, "inline": True})
    return made


def _links(links: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """One field with all links, if there are any and they fit: the addresses are the operator's own settings."""
    said = " · ".join(f"[{_escape(word)}]({url})" for word, url in links)
    return [{"name": "Look", "value": said, "inline": False}] if 0 < _size(said) <= FIELD_VALUE else []


def _escape(text: str) -> str:
    """One line that Discord shows as it is: no Markdown, no links of its own, no broken surrogates."""
    line = " ".join(text.encode("utf-8", "replace").decode().split())
    return _MARKUP.sub(lambda found: "\\" + found[0], line)


def _cut(text: str, limit: int) -> str:
    """At most `limit` characters, the last of them … if something was cut off."""
    if _size(text) <= limit:
        return text
    kept = text.encode("utf-16-le")[: 2 * (limit - 1)].decode("utf-16-le", "ignore")
    return kept.rstrip("\\") + "…"


def _size(text: str) -> int:
    """Length in UTF-16 units: never below the number of code points, so safe whichever Discord counts."""
    return len(text.encode("utf-16-le")) // 2
