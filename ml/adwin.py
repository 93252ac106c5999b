"""ADWIN, from river (an extra), on the labelled losses: Bifet and Gavalda, "Learning from time-changing data", 2007.

It compares means of sub-windows of what it has seen, whatever they are, and so needs no reference; its delta of
.002 bounds the false alarms of one comparison, not of a week. Only a rise of the loss is an alarm. river's object
cannot be stored without pickle: its state here is the losses since its window began, one bit a row, from which it
is made again (20,000 rows: some 20 ms). At 20,000 rows it begins afresh with the newest 10,000.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from ml.detector import Alarm

DELTA: Final = 0.002
MOST, KEPT = 20_000, 10_000


@dataclass(frozen=True, slots=True)
class AdwinState:
    """All that is needed to make river's object again.

    Attributes:
        mu0: the reference, to be shown; ADWIN does not look at it.
        rows: how many were processed.
        count, bits: the losses (0 or 1) that it holds, packed, as base64.
        alarm: the first rise; it stays. `statistic` is 1, `rows_since_change` the window that was left.
    """

    mu0: float
    rows: int = 0
    count: int = 0
    bits: str = ""
    alarm: Alarm | None = None
    limit: float = 1.0

    @property
    def evidence(self) -> float:
        """How many rises were found: 0 or 1."""
        return 1.0 if self.alarm else 0.0

    @property
    def why(self) -> str:
        """What an alarm says, in words."""
        return "its labelled loss has risen, says ADWIN"

    def after(self, losses: ArrayLike) -> AdwinState:
        """The state after these losses, each 0 or 1, oldest first.

        Raises:
            ModuleNotFoundError: river is not installed.
        """
        new = np.asarray(losses, dtype=np.float64).tolist()
        held: list[float] = self._losses()
        adwin = _made_of(held)
        alarm = self.alarm
        for row, loss in enumerate(new, self.rows):
            before = adwin.estimation
            adwin.update(loss)
            held.append(loss)
            if adwin.drift_detected:
                if alarm is None and adwin.estimation > before:
                    alarm = Alarm(row, 1.0, int(adwin.width))
                held, adwin = [], _made_of([])
            elif len(held) == MOST:
                held = held[-KEPT:]
                adwin = _made_of(held)
        bits = b64encode(np.packbits(np.array(held, dtype=np.uint8)).tobytes()).decode()
        return replace(self, rows=self.rows + len(new), count=len(held), bits=bits, alarm=alarm)

    def _losses(self) -> list[float]:
        packed = np.frombuffer(b64decode(self.bits), dtype=np.uint8)
        return [float(bit) for bit in np.unpackbits(packed, count=self.count)]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"kind": "adwin", **asdict(self)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> AdwinState:
        """The inverse of `to_dict`, also after a journey through JSON."""
        alarm = Alarm(**stored["alarm"]) if stored["alarm"] else None
        return cls(stored["mu0"], stored["rows"], stored["count"], stored["bits"], alarm)


def _made_of(losses: list[float]) -> Any:
    from river.drift import ADWIN  # an extra: who does not ask for it needs no river

    adwin: Any = ADWIN(delta=DELTA)  # type: ignore[no-untyped-call]
    for loss in losses:
        adwin.update(loss)
    return adwin
