"""What a person sees: plain lines in a pipe, one line a group."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from embedded.__main__ import Show
from embedded.console import Console, bar
from embedded.stack import Group
from embedded.supervisor import Event, Process


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_no_escape_codes_and_no_moving_lines() -> None:
    """Lines as they are, and only those that stay."""
    stream = io.StringIO()
    console = Console(stream)
    console.moving("███")
    console.step("broker", 0.31, "valkey 9.1")
    assert stream.getvalue() == "✓ broker      0.3 s     valkey 9.1\n"


def test_no_color_is_heeded_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR, set to anything, turns colours off."""
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    Console(stream).warn("worker ended")
    assert stream.getvalue() == "! worker ended\n"


def test_a_moving_line_gives_way_to_one_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the bar is wiped before the next line is written."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    console = Console(stream)
    console.moving("██")
    console.line("3 Traffic")
    assert stream.getvalue() == "\r\x1b[K██\r\x1b[K3 Traffic\n"


@pytest.mark.parametrize(
    ("share", "drawn"),
    [(0.0, "    "), (0.5, "██  "), (0.53125, "██▏ "), (1.0, "████"), (7.0, "████"), (-1.0, "    ")],
)
def test_a_bar_is_drawn_in_eighths(share: float, drawn: str) -> None:
    """Of four characters; what lies outside 0 to 1 is clipped."""
    assert bar(share, width=4) == drawn


def test_a_group_is_told_once_all_of_it_is_ready(tmp_path: Path) -> None:
    """Two workers make one line; a death is told with its log, but not while the stack stops."""
    stream = io.StringIO()
    show = Show(Console(stream), tmp_path)
    processes = tuple(Process(name, ("true",), None) for name in ("predict", "general"))
    show.expect([Group("workers", "predict ×1, general ×2", processes)])
    show(Event("predict", "ready", 1.0))
    assert stream.getvalue() == ""
    show(Event("general", "ready", 2.0))
    show(Event("general", "ready", 9.0))
    show.starting = False
    show(Event("general", "ended", 0.5, "killed by SIGKILL"))
    show.muted = True
    show(Event("predict", "ended", 0.5, "exit status 0"))
    assert stream.getvalue().splitlines() == [
        "✓ workers     2.0 s     predict ×1, general ×2",
        f"! general ended (killed by SIGKILL), starts again in 0.5 s   {tmp_path / 'general.log'}",
    ]
