"""Bulk predictions: every row answered by one version, wherever a worker was lost, and no single row waits for them."""

from __future__ import annotations

import copy
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

from ml.model_file import dump
from ml.prediction import Prediction, predict
from problems.catalog import builtin
from problems.rows import PackedRows
from storage import artifacts, champions, ledger, versions
from storage.exports import of_file
from tests.architecture.law import ROOT
from tests.workers.conftest import House
from workers import bulk, history, partial, tasks

ROWS = 20_000
CHUNK = 2_000


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten chunks, each kept."""
    monkeypatch.setattr(bulk, "CHUNK", CHUNK)
    monkeypatch.setattr(bulk, "KEPT_EVERY_S", 0.0)


def trained(house: House) -> House:
    """With a champion."""
    house.tick()
    return house


def rows(seed: int = 5) -> NDArray[np.float64]:
    drawn: NDArray[np.float64] = np.random.default_rng(seed).normal(size=(ROWS, 2))
    return drawn


def posted(house: House, ending: str = "arrow") -> str:
    """A bulk job of `rows()`, not yet carried out."""
    x = rows()
    table = pa.table({"x1": x[:, 0], "x2": x[:, 1]})
    name = f"bodies/{ending}/table.{ending}"
    with house.room.artifacts.writing(name) as draft:
        if ending == "arrow":
            with pa.ipc.new_stream(draft, table.schema) as stream:
                stream.write_table(table)
        elif ending == "parquet":
            pa.parquet.write_table(table, draft)
        elif ending == "csv":
            pa.csv.write_csv(table, draft)
        else:
            draft.write_bytes(PackedRows(ROWS, x.tobytes()).encode())
    return house.post("predict", artifact=name)


def carry(house: House, job_id: str) -> None:
    tasks.carry(house.room, "predict", [job_id], "task")


def lost(house: House) -> None:
    """The sweeper takes the jobs of silent workers back."""
    with house.db.begin() as tx:
        ledger.expire(tx, ledger.leases(tx), house.clock.now)


def answered(house: House, job_id: str) -> pa.Table:
    """The answer, after a look at what is true of every one: all rows, in order, by one version, and counted."""
    job = house.job(job_id)
    assert job.status == "succeeded", job.error
    _, tables = of_file(house.room.artifacts.path(job.result_artifact or ""))
    table = pa.concat_tables(tables)
    assert table["prediction_id"].to_pylist() == [f"{job_id}:{n}" for n in range(ROWS)]
    told = house.result(job_id)
    labels = table["label"].to_pylist()
    assert (told["rows"], told["labels"]) == (ROWS, {str(label): labels.count(label) for label in set(labels)})
    with house.db.read() as tx:
        version = versions.get(tx, "default", told["version"])
    assert version is not None
    said = predict(house.room.shelf.pipeline(version), house.model().problem, rows())
    assert said.probabilities is not None
    assert labels == said.label_list()
    assert np.allclose(table["probability_1"].to_numpy(), said.probabilities[:, 1])
    return table


class Dies:
    """Stands for `predict`: raises in the place of the n-th chunk; counts the rows of the chunks before."""

    def __init__(self, at: int, of: BaseException | None = None) -> None:
        self.at, self.rows, self.calls, self.fault = at, 0, 0, of or SystemExit(1)

    def __call__(self, model: Any, problem: Any, rows: Any) -> Prediction:
        self.calls += 1
        if self.calls == self.at:
            raise self.fault
        self.rows += len(rows)
        return predict(model, problem, rows)


def interrupted(house: House, monkeypatch: pytest.MonkeyPatch, at: int = 5) -> str:
    """A job whose worker ended in the middle, and that is queued again."""
    job_id = posted(house)
    monkeypatch.setattr(bulk, "predict", Dies(at))
    with pytest.raises(SystemExit):
        carry(house, job_id)
    lost(house)
    return job_id


@pytest.mark.parametrize("ending", ["arrow", "parquet", "csv", "bin"])
def test_every_row_is_answered_in_order_whatever_the_format(house: House, ending: str) -> None:
    job_id = posted(trained(house), ending)
    carry(house, job_id)
    assert answered(house, job_id).num_rows == ROWS


def test_a_job_whose_worker_was_lost_goes_on_at_the_first_chunk_that_is_missing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It died in the fifth of ten chunks, then in the third of the rest: the last worker predicts the last four only."""
    job_id = interrupted(trained(house), monkeypatch, at=5)
    monkeypatch.setattr(bulk, "predict", Dies(3))
    with pytest.raises(SystemExit):
        carry(house, job_id)
    lost(house)
    last = Dies(100)
    monkeypatch.setattr(bulk, "predict", last)
    carry(house, job_id)
    assert last.rows == 4 * CHUNK
    answered(house, job_id)
    files = [path.suffix for path in house.room.artifacts.path(f"results/{job_id}").iterdir()]
    assert sorted(files) == [".arrow", ".note"]


def test_rows_are_predicted_while_their_file_settles_but_no_note_tells_of_it_before(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut must not leave a note of rows that are not on the disk: the first note waits for them, the rows do not."""
    predicted, seen = threading.Event(), list[str]()
    settle, keep = artifacts.settle_in_place, partial.Partial.keep

    def slow(path: Path) -> None:
        assert predicted.wait(10)
        settle(path)
        seen.append("settled")

    def noted(answer: partial.Partial) -> None:
        seen.append("kept")
        keep(answer)

    def said(*given: Any) -> Prediction:
        predicted.set()
        return predict(*given)

    monkeypatch.setattr(artifacts, "settle_in_place", slow)
    monkeypatch.setattr(partial.Partial, "keep", noted)
    job_id = posted(trained(house), "parquet")
    monkeypatch.setattr(bulk, "predict", said)
    carry(house, job_id)
    answered(house, job_id)
    assert seen[:2] == ["settled", "kept"]


def test_the_version_that_began_a_job_ends_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another champion serves when the job goes on: one job, one version, and nothing is done twice."""
    job_id = interrupted(trained(house), monkeypatch)
    first = house.model().champion
    second = promoted(house)
    rest = Dies(100)
    monkeypatch.setattr(bulk, "predict", rest)
    carry(house, job_id)
    assert house.model().champion == second != first
    assert (house.result(job_id)["version"], rest.rows) == (first, 6 * CHUNK)
    answered(house, job_id)


def test_a_job_whose_version_is_gone_starts_anew_with_the_champion(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file was swapped, and the registry is away: every row is said by the champion, none by the old version."""
    job_id = interrupted(trained(house), monkeypatch)
    with house.db.read() as tx:
        old = versions.get(tx, "default", house.model().champion or "")
    assert old is not None
    second = promoted(house)
    house.room.artifacts.path(old.artifact).write_bytes(b"something else")
    house.registry.down = True
    house.room.shelf._kept.clear()
    whole = Dies(100)
    monkeypatch.setattr(bulk, "predict", whole)
    carry(house, job_id)
    assert (house.result(job_id)["version"], whole.rows) == (second, ROWS)
    answered(house, job_id)


def promoted(house: House) -> str:
    """Another version serves from now on, one that says the opposite; its name."""
    with house.db.begin() as tx:
        old = versions.get(tx, "default", house.model().champion or "")
        assert old is not None
        pipeline = copy.deepcopy(house.room.shelf.pipeline(old))
        pipeline[-1].coef_ = -pipeline[-1].coef_
        artifact = "models/default/99.skops"
        sha256 = dump(pipeline, house.room.artifacts.path(artifact))
        versions.add(tx, replace(old, number=99, artifact=artifact, sha256=sha256, promoted_from=old.name))
        champions.serve(tx, "default", "99", 0)
    return "99"


def test_a_stale_worker_spoils_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It slept in the middle, its job was taken back and ended by another; it wakes up and writes on to its end."""
    job_id = posted(trained(house))
    whole = Dies(100)

    def overslept(model: Any, problem: Any, rows: Any) -> Prediction:
        if whole.calls == 4:
            monkeypatch.setattr(bulk, "predict", whole)
            lost(house)
            carry(house, job_id)
            monkeypatch.setattr(bulk, "predict", overslept)
        return whole(model, problem, rows)

    monkeypatch.setattr(bulk, "predict", overslept)
    carry(house, job_id)
    assert whole.rows == ROWS + 6 * CHUNK
    answered(house, job_id)


def test_a_failing_chunk_is_tried_again_alone(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error in the fifth chunk: the retry begins there."""
    job_id = posted(trained(house))
    monkeypatch.setattr(bulk, "predict", Dies(5, ZeroDivisionError()))
    carry(house, job_id)
    assert (house.job(job_id).status, house.job(job_id).failures) == ("queued", 1)
    rest = Dies(100)
    monkeypatch.setattr(bulk, "predict", rest)
    carry(house, job_id)
    assert rest.rows == 6 * CHUNK
    answered(house, job_id)


WORKER = """
import os, signal, sys
from pathlib import Path
from ml.model_file import dump
from ml.prediction import predict
from tests.workers.conftest import House
from workers import bulk, tasks

bulk.CHUNK, bulk.KEPT_EVERY_S, calls = {chunk}, 0.0, []

def dies(*args):
    calls.append(1)
    if len(calls) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return predict(*args)

bulk.predict = dies
tasks.carry(House(Path(sys.argv[1])).room, "predict", [sys.argv[2]], "task")
"""


def test_a_killed_process_costs_one_chunk(house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """kill -9 of a real worker process in the fifth chunk."""
    job_id = posted(trained(house))
    command = [sys.executable, "-c", WORKER.format(chunk=CHUNK), str(tmp_path), job_id]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    lost(house)
    rest = Dies(100)
    monkeypatch.setattr(bulk, "predict", rest)
    carry(house, job_id)
    assert rest.rows == 6 * CHUNK
    answered(house, job_id)


def test_a_note_without_its_file_is_no_beginning(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stale worker's last note may outlive its file."""
    job_id = interrupted(trained(house), monkeypatch)
    note = partial.furthest(house.room.artifacts, job_id)
    assert note is not None and note.done == 4 * CHUNK
    house.room.artifacts.remove(note.answer)
    assert partial.furthest(house.room.artifacts, job_id) is None
    monkeypatch.setattr(bulk, "predict", predict)
    carry(house, job_id)
    answered(house, job_id)


def test_tries_on_a_full_disk_leave_no_more_than_the_furthest(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """One try comes to the fifth chunk, three fail at once: its file and note are all that lies there, and it is gone on with."""
    job_id = posted(trained(house))
    full = OSError(errno.ENOSPC, "No space left on device")
    for at in (5, 1, 1, 1):
        monkeypatch.setattr(bulk, "predict", Dies(at, full))
        carry(house, job_id)
        assert house.job(job_id).status == "queued"
    left = sorted(path.suffix for path in (house.room.artifacts.path(f"results/{job_id}")).iterdir())
    assert left == [".arrow", ".note"]
    rest = Dies(100)
    monkeypatch.setattr(bulk, "predict", rest)
    carry(house, job_id)
    assert rest.rows == 6 * CHUNK
    answered(house, job_id)


def watched(house: House, look: Callable[[], None]) -> Callable[..., Prediction]:
    """`predict`, with a look at the ledger before each chunk."""

    def said(model: Any, problem: Any, rows: Any) -> Prediction:
        look()
        return predict(model, problem, rows)

    return said


def test_progress_moves_with_the_rows(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth for each of ten chunks, and none once it is done."""
    job_id, seen = posted(trained(house)), list[float | None]()
    monkeypatch.setattr(bulk, "predict", watched(house, lambda: seen.append(house.job(job_id).progress)))
    carry(house, job_id)
    assert seen == [None, *[n / 10 for n in range(1, 10)]]
    assert house.job(job_id).progress is None


def test_progress_goes_on_where_it_was(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four tenths were kept: the next claim says so before its first chunk."""
    job_id, seen = interrupted(trained(house), monkeypatch), list[float | None]()
    monkeypatch.setattr(bulk, "predict", watched(house, lambda: seen.append(house.job(job_id).progress)))
    carry(house, job_id)
    assert seen == [n / 10 for n in range(4, 10)]


def test_progress_is_told_by_time_not_by_chunk(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of ten quick chunks writes none."""
    job_id, seen = posted(trained(house)), list[float | None]()
    monkeypatch.setattr(bulk, "KEPT_EVERY_S", 60.0)
    monkeypatch.setattr(bulk, "predict", watched(house, lambda: seen.append(house.job(job_id).progress)))
    carry(house, job_id)
    assert seen == [None] * 10


def test_a_row_that_is_taken_along_does_not_wait_for_the_file(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task of a bulk job takes waiting rows along: they have their answers before the first chunk."""
    job_id = posted(trained(house))
    one = house.post("predict", payload=PackedRows(1, rows()[:1].tobytes()).encode())
    seen: list[str] = []
    monkeypatch.setattr(bulk, "predict", watched(house, lambda: seen.append(house.job(one).status)))
    carry(house, job_id)
    assert seen == ["succeeded"] * 10


@pytest.mark.parametrize("ending", ["arrow", "bin"])
def test_feature_drift_looks_at_a_sample_of_a_file(house: House, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    """Evenly spaced rows lie in the log beside the file's name; the file itself is gone, and nobody asks for it."""
    monkeypatch.setattr("storage.predictions.SAMPLED", 11)
    trained(house)
    job = posted(house, ending)
    carry(house, job)
    with house.db.read() as tx:
        house.room.artifacts.remove(str(house.job(job).artifact))
        seen = history.recent_inputs(tx, builtin(), 2_000)
    assert isinstance(seen, np.ndarray)
    np.testing.assert_array_equal(seen, rows()[np.linspace(0, ROWS - 1, 11).astype(int)])
