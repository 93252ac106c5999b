"""Our own loop over a stream: the workers' check and training, in this process, on a ledger of their own.

Each chunk is predicted by the version that serves, then arrives as labelled rows, then a check is carried out together
with all that follows from it. Nothing of the rule is written here: what is measured is what runs in production, without
the queues between.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.house import carry_out, house, post
from benchmarks.learning.played import Played
from benchmarks.learning.streams import Stream
from ml.prediction import Prediction, predict
from ml.rows import Rows
from problems.declaration import Problem
from storage import decisions
from storage.datasets import NewDataset
from storage.decisions import Decision
from storage.ids import new_id
from workers import serving, tables
from workers.ingest import store_dataset
from workers.room import Room

Show = Callable[[Played], None]
US = "Continual ML"
ALARMS = ("drift", "floor")
PAGE = 100  # decisions that one check may lead to, and many more


def play(stream: Stream, problem: Problem, folder: Path, warm: int, chunk: int, show: Show) -> Played:
    """The whole stream.

    Raises:
        RuntimeError: the warm-up made no version.
    """
    played = Played(US, problem.estimator.rpartition(".")[2])
    with house(folder, problem) as room:
        loop = Loop(room, problem, played)
        loop.learn(stream, 0, warm)
        for start in range(warm, len(stream), chunk):
            stop = min(start + chunk, len(stream))
            rows, truth = stream.part(start, stop)
            played.see(truth, loop.predict(rows))
            loop.learn(stream, start, stop)
            show(played)
    return played


class Loop:
    """One model of a room: predicts with the version that serves, learns as its own loop decides, and counts what happens."""

    def __init__(self, room: Room, problem: Problem, played: Played) -> None:
        self._room, self._problem, self._played = room, problem, played
        self._seen = ""

    def predict(self, rows: Rows) -> Prediction:
        """What the version that serves says of these rows.

        Raises:
            RuntimeError: none does yet.
        """
        with self._room.db.read() as tx:
            champion = serving.champion(self._room, tx, self._problem.name)
        if champion is None:
            raise RuntimeError(f"{self._problem.name}: no version serves after the warm-up")
        return predict(champion.pipeline, self._problem, rows)

    def learn(self, stream: Stream, start: int, stop: int) -> None:
        """Rows [start, stop) become the newest of history; then a check, with all that it leads to."""
        self._arrive(stream, start, stop)
        began = time.process_time()
        post(self._room, "check", self._problem.name, b"{}")
        carry_out(self._room)
        self._played.seconds += time.process_time() - began
        for decision in self._new():
            self._count(decision)

    def _arrive(self, stream: Stream, start: int, stop: int) -> None:
        room, now = self._room, self._room.clock()
        dataset = new_id(now)
        name = f"datasets/{dataset}/1.arrow"
        part = tables.mapped(stream.file).slice(start, stop - start)
        with room.artifacts.writing(name) as draft:
            tables.write_columns(draft, {column: part[column] for column in part.column_names})
        new = NewDataset(dataset, dataset, self._problem.name, part.num_rows, 0, "upload", {}, name, room.artifacts.digest(name))
        classes = sorted(set(stream.truth[start:stop].tolist()))
        with room.db.begin() as tx:
            store_dataset(room, tx, self._problem, new, classes, now)

    def _new(self) -> list[Decision]:
        """Decisions since the last look, oldest first."""
        with self._room.db.read() as tx:
            newest = decisions.listed(tx, self._problem.name, PAGE, None).entries
        fresh = [each for each in reversed(newest) if each.id > self._seen]
        self._seen = newest[0].id if newest else ""
        return fresh

    def _count(self, decision: Decision) -> None:
        rows = self._played.rows
        if decision.action == "train":
            self._played.attempts += 1
            self._played.events.append((rows, "retraining"))
            if decision.evidence["check"]["decision"] in ALARMS:
                self._played.alarms += 1
                self._played.events.append((rows, "alarm"))
        elif decision.action == "promote":
            self._played.events.append((rows, "promotion"))
