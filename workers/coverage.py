"""What share of a model's predictions gets labels, and how late they come: measured at each check, and shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection

from jobs.kinds import BULK, PREDICT, QUARANTINE
from storage import coverage, ledger
from storage.coverage import DAYS, Day
from storage.ids import first_id

UNSETTLED_S: Final = 5.0  # a job's id is made a moment before it is committed


@dataclass(frozen=True, slots=True)
class Coverage:
    """The last days of a model, to be kept by the check, and what is shown of them."""

    days: Sequence[Day]
    delays: Sequence[float]

    def shown(self) -> dict[str, Any]:
        """`coverage`: labelled share of the predictions of the last `days`, 0 to 1; `delay_s` of the newest labels."""
        predicted, labelled = sum(day.predicted for day in self.days), sum(day.labelled for day in self.days)
        late = np.quantile(self.delays, [0.5, 0.9]).round(3).tolist() if self.delays else None
        return {
            "days": DAYS,
            "predicted": predicted,
            "labelled": labelled,
            "coverage": min(1.0, round(labelled / predicted, 4)) if predicted else None,
            "delay_s": {"p50": late[0], "p90": late[1]} if late else None,
        }


def measure(tx: Connection, model: str, now: float) -> Coverage:
    """Count the predictions that have come since the last check; those that are under way are counted once they are logged."""
    settled = first_id(now - UNSETTLED_S)
    open_ = ledger.oldest_open(tx, "predict", (PREDICT, BULK, QUARANTINE))
    return Coverage(coverage.count(tx, model, now, min(settled, open_ or settled)), coverage.delays(tx, model))
