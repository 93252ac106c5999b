"""What a person sees on the terminal: one line a step, plain where nobody watches it live."""

from __future__ import annotations

import os
import sys
import threading
from typing import TextIO

GREEN, YELLOW, DIM = "32", "33", "2"


class Console:
    """Lines on a stream; colour and moving bars only on a terminal, and never with NO_COLOR.

    Safe to share between threads: a moving line is withdrawn before another is printed.
    """

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self.stream = stream
        self.live = stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._lock = threading.Lock()
        self._moving = ""

    def step(self, title: str, seconds: float, detail: str) -> None:
        """A thing that is done: `✓ broker      0.3 s     valkey 9.1`."""
        took = f"{seconds:.1f} s"
        self.line(f"{self._colour('✓', GREEN)} {title:<11} {took:<9} {detail}".rstrip())

    def warn(self, text: str) -> None:
        """Something to know, that needs nobody at once."""
        self.line(f"{self._colour('!', YELLOW)} {text}")

    def line(self, text: str = "") -> None:
        """A line that stays."""
        with self._lock:
            moving, self._moving = self._moving, ""
            self._write(("\r\x1b[K" if moving else "") + text + "\n")

    def moving(self, text: str) -> None:
        """A line that the next one takes the place of; nothing where nobody watches live."""
        if self.live:
            with self._lock:
                self._moving = text
                self._write("\r\x1b[K" + text)

    def dim(self, text: str) -> str:
        """Text that steps back, where the terminal can."""
        return self._colour(text, DIM)

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()

    def _colour(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.live else text


def bar(share: float, width: int = 20) -> str:
    """A bar of eighths of a character, `share` of `width` long.

    Args:
        share: 0 to 1; clipped.
    """
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + " ▏▎▍▌▋▊▉"[part].strip()).ljust(width)
