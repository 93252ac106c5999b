"""How many of a model's predictions are labelled: a tally for each day (UTC) on which predictions were made.

Labels are added in the transaction that stores them. Predictions are added by the check, those that have come since the
one before: the log is read once, in the order of its index, and the path of a prediction pays nothing for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection

from storage.dialects import execute_many, fetch
from storage.ids import first_id, time_of

DAYS: Final = 7
DAY_S: Final = 86_400
NEWEST: Final = 1_000  # labels whose delay is looked at


@dataclass(frozen=True, slots=True)
class Day:
    """Predictions of one day (since 1970), and how many of them are labelled; those before the id `counted_to` are counted."""

    day: int
    predicted: int = 0
    labelled: int = 0
    counted_to: str = ""


_DAYS = "SELECT day, predicted, labelled, counted_to FROM coverage WHERE model = ? AND day > ? AND day <= ?"
_ROWS = 'SELECT COALESCE(SUM("rows"), 0) FROM predictions WHERE model = ? AND job_id >= ? AND job_id < ?'
_KEEP = (
    "INSERT INTO coverage (model, day, predicted, labelled, counted_to) VALUES (?, ?, ?, 0, ?)"
    " ON CONFLICT (model, day) DO UPDATE SET predicted = excluded.predicted, counted_to = excluded.counted_to"
)
_LABELLED = (
    "INSERT INTO coverage (model, day, predicted, labelled, counted_to) VALUES (?, ?, 0, ?, '')"
    " ON CONFLICT (model, day) DO UPDATE SET labelled = coverage.labelled + excluded.labelled"
)
_NEWEST = "SELECT job_id, labelled_at FROM labels WHERE model = ? ORDER BY position DESC LIMIT ?"


def count(tx: Connection, model: str, now: float, end: str) -> list[Day]:
    """The model's last seven days, today the last of them, counted up to the job `end`; `keep` stores them.

    Args:
        end: an id that sorts after no prediction that may still be logged.
    """
    today = int(now // DAY_S)
    known = {row[0]: Day(*row) for row in fetch(tx, _DAYS, model, today - DAYS, today)}
    return [_counted(tx, model, known.get(day, Day(day)), end) for day in range(max(0, today - DAYS + 1), today + 1)]


def _counted(tx: Connection, model: str, day: Day, end: str) -> Day:
    start = max(day.counted_to, first_id(day.day * DAY_S))
    stop = min(end, first_id((day.day + 1) * DAY_S))
    if start >= stop:
        return day
    rows = int(fetch(tx, _ROWS, model, start, stop)[0][0])
    return replace(day, predicted=day.predicted + rows, counted_to=stop)


def keep(tx: Connection, model: str, days: Sequence[Day]) -> None:
    """Store what `count` has counted. For one check at a time: the last word holds."""
    execute_many(tx, _KEEP, [(model, day.day, day.predicted, day.counted_to) for day in days if day.counted_to])


def add_labels(tx: Connection, model: str, job_ids: Iterable[str]) -> None:
    """Count first labels of predictions, each by its job's id."""
    days: Counter[int] = Counter()
    for job_id, labels in Counter(job_ids).items():
        days[int(time_of(job_id) // DAY_S)] += labels
    execute_many(tx, _LABELLED, [(model, *each) for each in sorted(days.items())])


def delays(tx: Connection, model: str) -> list[float]:
    """Seconds from prediction to label of the newest thousand labels."""
    return [at - time_of(job_id) for job_id, at in fetch(tx, _NEWEST, model, NEWEST)]
