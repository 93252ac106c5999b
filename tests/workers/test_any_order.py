"""The loop under clients that predict, label, correct, upload and roll back in any order: a fold over the labels is its judge."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

from ml import detector as esr
from ml.generator import generate
from ml.metrics import losses, score
from ml.prediction import predict
from problems.catalog import builtin
from problems.rows import PackedRows
from registry.memory import MemoryRegistry
from storage import champions, decisions, detectors, labels
from storage.champions import NothingToRollBack
from tests import stateful
from tests.workers.conftest import House
from tests.workers.test_loop import feed
from workers import history, reproduce, serving
from workers.check import WINDOW
from workers.shelf import Loaded
from workers.sweeper import Sweeper

DAY_S = 86_400
KEPT_DAYS = 10
SEED = st.integers(0, 10**6)
Asked = tuple[str, NDArray[np.float64], float]  # a predict job, its rows, when


class Life(RuleBasedStateMachine):
    """Clients and checks of one model; `rows` and `truth` are what its labelled history must be."""

    first: ClassVar[Path]  # a house whose model has had a drift, and serves its second version
    registry: ClassVar[MemoryRegistry]
    met: ClassVar[set[str]]  # what the checks of all runs have decided

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=self.first.parent))
        shutil.copytree(self.first, self.folder, dirs_exist_ok=True)
        self.house = House(self.folder, self.registry, retention_days=KEPT_DAYS)
        self.house.clock.now += DAY_S
        self.start = self.house.model().head
        self.rows: list[list[float]] = []
        self.truth: list[int] = []
        self.earlier: list[list[float]] = []
        self.asked: list[Asked] = []
        self.places: dict[tuple[str, int], int] = {}
        self.judged: dict[int, int] = {}  # labels as the detector in force has read them, by position

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.the_decisions_are_a_chain_and_each_training_can_be_run_again()
            self.house.room.close()
            shutil.rmtree(self.folder)

    # ---- clients

    @rule(jobs=st.integers(1, 3), rows=st.sampled_from([1, 1, 1, 7, 300]), seed=SEED)
    def predict(self, jobs: int, rows: int, seed: int) -> None:
        inputs, _ = generate(jobs * rows, 2, 0.0, "none", 0.0, seed)
        for each in np.split(inputs, jobs):
            self.asked.append((self.house.predict(each), each, self.house.clock()))

    @rule(rows=st.sampled_from([1, 40, 300]), seed=SEED)
    def predict_a_file(self, rows: int, seed: int) -> None:
        inputs, _ = generate(rows, 2, 0.0, "none", 0.0, seed)
        name = f"bodies/{seed}-{len(self.asked)}/rows.bin"
        self.house.room.artifacts.write(name, [PackedRows(rows, inputs.tobytes()).encode()])
        job_id = self.house.post("predict", artifact=name)
        self.house.settle()
        self.asked.append((job_id, inputs, self.house.clock()))

    @precondition(lambda self: self.asked)
    @rule(
        which=st.integers(0, 4),
        share=st.floats(0.1, 1),
        seed=SEED,
        turned=st.booleans(),
        table=st.booleans(),
        twice=st.booleans(),
    )
    def label(self, which: int, share: float, seed: int, turned: bool, table: bool, twice: bool) -> None:
        """Some of a job's rows, in any order, perhaps twice and otherwise; by the API's own call, or as a table."""
        job_id, inputs, _ = self.asked[-1 - which % len(self.asked)]
        some = np.random.default_rng(seed).permutation(len(inputs))[: max(1, int(share * len(inputs)))].tolist()
        said = (inputs.sum(axis=1) > 0) ^ turned
        given = [(row, int(said[row])) for row in some]
        given += [(row, 1 - label) for row, label in given[::2]] if twice else []
        news = sum(self._expect(job_id, inputs, row, label) for row, label in given)
        assert self._send_table(job_id, given) == news if table else self._send(job_id, given) == news

    @rule(seed=SEED, turned=st.booleans(), noise=st.booleans())
    def a_day_of_labels_and_a_check(self, seed: int, turned: bool, noise: bool) -> None:
        """Enough for an alarm, a promotion or a rejection."""
        self.predict(1, 300, seed)
        self.label(0, 1.0, seed, turned, table=False, twice=noise)
        self.check()

    def _expect(self, job_id: str, inputs: NDArray[np.float64], row: int, label: int) -> bool:
        """Note a label in our own history; whether it is news."""
        place = self.places.setdefault((job_id, row), len(self.rows))
        if place == len(self.rows):
            self.rows.append(inputs[row].tolist())
            self.truth.append(label)
            return True
        changed, self.truth[place] = self.truth[place] != label, label
        return changed

    def _send(self, job_id: str, given: list[tuple[int, int]]) -> int:
        keyed = [((job_id, row), str(label)) for row, label in given]
        return self.house.db.run(lambda tx: labels.store(tx, "default", keyed, self.house.clock)).accepted

    def _send_table(self, job_id: str, given: list[tuple[int, int]]) -> int:
        lines = "".join(f"{row},{label}\n" for row, label in given)
        sent = self.house.ingest(f"row,label\n{lines}", labels=True, job_id=job_id)
        accepted: int = self.house.result(sent.id)["accepted"]
        return accepted

    @rule(rows=st.integers(1, 300), seed=SEED, turned=st.booleans(), backfill=st.booleans())
    def upload(self, rows: int, seed: int, turned: bool, backfill: bool) -> None:
        inputs, truth = generate(rows, 2, 0.05, "concept" if turned else "none", float(turned), seed)
        lines = "".join(f"{a!r},{b!r},{label}\n" for (a, b), label in zip(inputs.tolist(), truth.tolist(), strict=True))
        sent = self.house.ingest(f"x1,x2,label\n{lines}", backfill=backfill)
        assert self.house.result(sent.id)["rows"] == rows
        if backfill:
            self.earlier = inputs.tolist() + self.earlier
        else:
            self.rows += inputs.tolist()
            self.truth += truth.tolist()

    @rule()
    def roll_back(self) -> None:
        try:
            self.house.db.run(lambda tx: champions.roll_back(tx, "default", "a person", self.house.clock()))
        except NothingToRollBack:
            return
        self.met.add("a rollback")

    @rule(days=st.sampled_from([0.1, 1, 4]))
    def time_passes_and_what_is_old_goes(self, days: float) -> None:
        self.house.clock.now += days * DAY_S
        Sweeper(self.house.room).prune()
        self.asked = [each for each in self.asked if each[2] > self.house.clock() - KEPT_DAYS * DAY_S]

    # ---- the check

    @rule()
    def check(self) -> None:
        """Each label is processed once, in order, as it stood then; the shown performance is of labels as they stand."""
        model = self.house.model()
        with self.house.db.read() as tx:
            champion = serving.champion(self.house.room, tx, "default")
            before = detectors.get(tx, "default", str(model.champion))
        assert champion is not None and before is not None
        self.house.tick()
        self.house.clock.now += 1  # what is corrected later is corrected later than the training has read
        found = self.house.checks()[-1]
        self.met.add(found["decision"])
        assert (found["version"], found["labels_seen"]) == (champion.version.name, model.head - before.position)
        first = before.position - before.state.get("rows", 0)
        new = range(before.position, model.head)
        self.judged = (self.judged if before.state else {}) | {at: self.truth[at - self.start] for at in new}
        self._agrees(found, champion, range(first, model.head))
        self._scores(found, champion, range(max(before.start, model.head - WINDOW), model.head), bool(new))

    def _agrees(self, found: Any, champion: Loaded, seen: range) -> None:
        assert found["evidence_rows"] == len(seen)
        if not seen or found["decision"] in ("floor", "cooldown"):
            return
        truth = np.array([self.judged[at] for at in seen])
        lost = losses(champion.problem, truth, predict(champion.pipeline, champion.problem, self._inputs(seen)), None)
        state = esr.start(champion.version.reference["mu0"], found["limit"]).after(lost)
        if found["decision"] != "drift":
            assert found["statistic"] == pytest.approx(state.evidence, rel=1e-9)
            return
        assert state.alarm is not None
        assert found["statistic"] == pytest.approx(state.alarm.statistic, rel=1e-9)
        assert found["rows_since_change"] == state.alarm.rows_since_change + len(seen) - 1 - state.alarm.row

    def _scores(self, found: Any, champion: Loaded, newest: range, news: bool) -> None:
        if not news or len(newest) < 100:
            return
        truth = np.array([self.truth[at - self.start] for at in newest])
        said = predict(champion.pipeline, champion.problem, self._inputs(newest))
        assert found["performance"] == pytest.approx(score("accuracy", truth, said), abs=1e-12)

    def _inputs(self, positions: range) -> NDArray[np.float64]:
        return np.array([self.rows[at - self.start] for at in positions])

    # ---- what must hold

    @invariant()
    def the_history_is_the_rows_in_the_order_their_first_labels_came(self) -> None:
        model = self.house.model()
        with self.house.db.read() as tx:
            found = history.between(self.house.room, tx, builtin(), self.start, model.head)
            earlier = history.between(self.house.room, tx, builtin(), model.tail, 0)
        assert model.head == self.start + len(self.rows)
        for part, rows, head in ((found, self.rows, model.head), (earlier, self.earlier, 0)):
            assert ([] if part is None else np.asarray(part.rows).tolist()) == rows
            assert part is None or part.positions.tolist() == list(range(head - len(rows), head))
        assert found is None or found.truth.tolist() == self.truth

    def the_decisions_are_a_chain_and_each_training_can_be_run_again(self) -> None:
        with self.house.db.read() as tx:
            made = decisions.listed(tx, "default", 1_000, None).entries[::-1]
        moves = [each for each in made if each.action in ("promote", "rollback")]
        assert [each.from_version for each in moves] == [None, *(each.version for each in moves[:-1])]
        assert moves[-1].version == self.house.model().champion
        for each in made:
            if each.job_id is not None and "data" in each.evidence:
                assert reproduce.run(self.house.room, each.id).faults == []
                self.met.add(f"{each.action}, run again")


def test_whatever_clients_do_in_any_order_each_label_is_judged_once_and_each_training_can_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predictions of one row, of many and of files; labels partial, repeated and contradictory; retention; rollbacks."""
    monkeypatch.setattr("storage.ids._last", 0)
    house = House(tmp_path / "first")
    house.declare()
    house.tick()
    feed(house, 300, "concept", 0)
    house.tick()
    assert house.model().champion == "2"
    house.room.close()

    class OnThis(Life):
        pass

    OnThis.first, OnThis.registry, OnThis.met = tmp_path / "first", house.registry, set()
    stateful.run(OnThis, runs=7, steps=20)
    wanted = {"drift", "a rollback", "promote, run again"}
    assert wanted <= OnThis.met, f"the runs must have met {wanted - OnThis.met}"
