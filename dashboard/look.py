"""Elements that Streamlit has none for, as HTML; every text of others passes through `words.plain` or `words.chip`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import streamlit as st

from dashboard import words

CSS = Path(__file__).parent / "static" / "look.css"
Figure = tuple[str, str, str]  # its name, its value, what there is to add


def dress() -> None:
    """Put the style sheet into the page."""
    st.html(CSS)


def zone() -> tzinfo:
    """The reader's own time zone, as the browser tells it; UTC where it tells none."""
    name = st.context.timezone
    return ZoneInfo(name) if name else UTC


def moment(at: datetime | None) -> str:
    """A moment in the reader's time, UTC on hover."""
    return words.moment(at, zone())


def advice(kind: str, sentence: str) -> None:
    """The one sentence that says what to do."""
    mark = f'<span class="mark {kind}" aria-hidden="true">{words.MARK[kind]}</span>'
    st.html(f'<div class="advice {kind}" role="status">{mark}<span>{words.plain(sentence)}</span></div>')


def figures(shown: Sequence[Figure]) -> None:
    """Figures side by side; name and addition are texts, the value is HTML."""
    cells = (
        f"<div><dt>{words.plain(name)}</dt><dd>{value}{f'<small>{words.plain(more)}</small>' if more else ''}</dd></div>"
        for name, value, more in shown
    )
    st.html(f'<dl class="figures">{"".join(cells)}</dl>')


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], label: str, numbers: Sequence[int] = ()) -> None:
    """A table; cells are HTML. `numbers` are the columns that stand to the right. A keyboard can scroll it."""
    head = "".join(f"<th{_side(n, numbers)}>{words.plain(name)}</th>" for n, name in enumerate(columns))
    body = "".join(f"<tr>{''.join(f'<td{_side(n, numbers)}>{cell}</td>' for n, cell in enumerate(row))}</tr>" for row in rows)
    name = words.plain(label)
    st.html(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{name}"><table class="list">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _side(column: int, numbers: Sequence[int]) -> str:
    return ' class="number"' if column in numbers else ""


def empty(sentence: str) -> None:
    """Nothing yet, and what will fill it."""
    st.html(f'<div class="empty">{words.plain(sentence)}</div>')


def legend() -> None:
    """What the signs on a chart mean."""
    names = (f'<li><b style="color:inherit">{mark}</b>{name}</li>' for name, (mark, _) in words.EVENTS.items())
    st.html(f'<ul class="legend" aria-label="Signs on the chart">{"".join(names)}</ul>')


def heading(text: str) -> None:
    """A section's heading."""
    st.header(text, anchor=False)
