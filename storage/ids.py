"""Ids that sort by time: UUID version 7 (RFC 9562, 5.7), monotonic within the process."""

from __future__ import annotations

import random
import secrets
import threading
import uuid

SET_BACK = 10_000 << 74  # ten seconds: a last id that lies so far ahead was made before the clock was set
_lock = threading.Lock()
_last = 0


def new_id(now: float) -> str:
    """A UUIDv7 of `now` (epoch seconds), larger than any this process made before, unless the clock was set back by 10 s.

    What follows from an id's moment, such as when its job is rung again, must not wait for a time that was a mistake.
    The 48 bits of milliseconds are followed by a counter that starts at random and grows by random steps, as RFC 9562 6.2
    (method 2) has it.
    """
    global _last
    first = int(now * 1000) << 74
    with _lock:
        if first <= _last < first + SET_BACK:
            _last += 1 + random.getrandbits(32)  # no secret; those of the system cost a call each
        else:
            _last = first | secrets.randbits(73)
        value = _last
    millis, rest = value >> 74, value & ((1 << 74) - 1)
    bits = (millis << 80) | (0x7 << 76) | ((rest >> 62) << 64) | (0b10 << 62) | (rest & ((1 << 62) - 1))
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def first_id(moment: float) -> str:
    """Sorts before every id made at `moment` or later, and after all made in earlier milliseconds."""
    return str(uuid.UUID(int=int(moment * 1000) << 80))


def time_of(identifier: str) -> float:
    """The moment in an id of `new_id`, epoch seconds to the millisecond."""
    return int(identifier[:8] + identifier[9:13], 16) / 1000
