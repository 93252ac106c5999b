"""What a check reads grows with the rows it has not seen, not with the jobs they came in or with history."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from sqlalchemy import Connection

from ml.generator import generate
from problems.catalog import builtin
from storage import labels, predictions
from tests.workers.conftest import House
from workers import history


@pytest.fixture
def served(house: House) -> House:
    """A house whose built-in model has its first version, of 1,000 rows."""
    house.tick()
    return house


def test_a_job_whose_labels_reach_over_many_chunks_is_read_once(served: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, labels and positions are those of one read; the log is asked for the job a single time."""
    inputs, truth = generate(900, 2, 0.05, "none", 0.0, 1)
    served.label(served.predict(inputs), truth)
    asked: list[str] = []
    real = predictions.get_many

    def counted(tx: Connection, job_ids: Sequence[str]) -> dict[str, predictions.Logged]:
        asked.extend(job_ids)
        return real(tx, job_ids)

    monkeypatch.setattr(predictions, "get_many", counted)
    with served.db.read() as tx:
        parts = [part for _, part in history.chunks(served.room, tx, builtin(), 1000, 1900, size=100) if part]
    assert len(asked) == 1
    assert [len(part) for part in parts] == [100] * 9
    assert np.array_equal(np.concatenate([part.rows for part in parts]), inputs)
    assert np.array_equal(np.concatenate([part.truth for part in parts]), truth)
    assert np.concatenate([part.positions for part in parts]).tolist() == list(range(1000, 1900))


def test_recent_inputs_are_the_newest_rows_and_no_more_than_asked_for(served: House) -> None:
    """Of a large request that lies before small ones only its last rows are taken."""
    inputs, _ = generate(800, 2, 0.0, "none", 0.0, 2)
    served.predict(inputs[:790])
    for row in range(790, 800):
        served.predict(inputs[row : row + 1])
    with served.db.read() as tx:
        found = history.recent_inputs(tx, builtin(), 50)
    assert isinstance(found, np.ndarray)
    assert sorted(found.tolist()) == sorted(inputs[750:].tolist())


def test_labels_of_single_rows_and_of_larger_jobs_stand_in_the_order_they_came(served: House) -> None:
    """Rows asked for one by one are read with their labels, others by their jobs: one history in the end, no row too many."""
    inputs, truth = generate(9, 2, 0.05, "none", 0.0, 4)
    alone = [served.predict(inputs[n : n + 1]) for n in range(4)]
    together = served.predict(inputs[4:])
    turns = [
        (alone[0], 0),
        (together, 0),
        (alone[1], 0),
        (together, 1),
        (together, 2),
        (alone[2], 0),
        (alone[2], 5),
        (together, 9),
    ]
    with served.db.begin() as tx:
        labels.store(tx, "default", [(turn, "1" if truth[0] else "0") for turn in turns], served.clock)
    with served.db.read() as tx:
        found = history.between(served.room, tx, builtin(), 1000, 1100)
    assert found is not None
    assert isinstance(found.rows, np.ndarray)
    assert found.rows.tolist() == inputs[[0, 4, 1, 5, 6, 2]].tolist()
    assert found.positions.tolist() == list(range(1000, 1006))
