"""What a start makes of problem files."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from registry.memory import MemoryRegistry
from registry.port import RegistryDown
from storage import claims, ledger, models, versions
from storage.ledger import Outcome
from storage.versions import Version
from tests.workers.conftest import House
from workers import ingest, prepare
from workers.lease import Claim
from workers.prepare import ProblemChanged
from workers.run import JobFailed

PLANE = """
task = "binary"
label = "y"
metric = "accuracy"
threshold = 0.8
estimator = "sklearn.linear_model.LogisticRegression"
[features]
"""
AB, BA = 'a = "number"\nb = "number"\n', 'b = "number"\na = "number"\n'


@pytest.fixture
def start(house: House, tmp_path: Path) -> Start:
    return Start(house, tmp_path / "problems")


class Start:
    """Starts the stack's database step with `plane.toml` of these features."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house, self.folder = house, folder
        folder.mkdir()

    def __call__(self, features: str) -> None:
        (self.folder / "plane.toml").write_text(PLANE + features)
        prepare.prepare(self.house.settings.model_copy(update={"problems_dir": self.folder}))


def test_a_file_whose_features_change_their_order_starts_nothing_once_there_are_rows(start: Start) -> None:
    """Stored rows are numbers without names: sorted lines would have the champion read one feature for another."""
    start(AB)
    start(BA)
    with start.house.db.begin() as tx:
        models.take_positions(tx, "plane", 1)
    start(BA)
    with pytest.raises(ProblemChanged, match="plane: its file changes features, of which the order counts too, but"):
        start(AB)
    assert list(start.house.model("plane").declared["features"]) == ["b", "a"]


def test_predictions_that_wait_for_a_champion_fail_when_their_features_change(start: Start) -> None:
    """With a word why; a change that leaves the meaning of rows alone fails none, and no other model's."""
    start(AB)
    gone, waits, other = (start.house.post("predict", model, b"x") for model in ("plane", "plane", "default"))
    with start.house.db.begin() as tx:
        claims.claim(tx, [gone], "w", "t", start.house.clock(), 30)
        ledger.finish(tx, "w", [Outcome(gone, "failed", error="{}")], start.house.clock())
    start(AB + "[estimator_args]\nC = 0.5\n")
    assert start.house.job(waits).status == "queued"
    start(BA)
    failed = start.house.job(waits)
    assert (failed.status, msgspec.json.decode(failed.error or "")["type"]) == ("failed", "no_model")
    assert "declared anew (features)" in str(failed.error)
    assert failed.payload is None  # or a retry would have them read as what they are not
    assert (start.house.job(gone).error, start.house.job(gone).payload) == ("{}", None)
    assert (start.house.job(other).status, start.house.job(other).payload) == ("queued", b"x")


def test_a_table_that_was_read_before_its_model_was_declared_anew_is_no_dataset(start: Start) -> None:
    """Its job fails and says so; the model has no row that its features do not fit."""
    start(AB)
    job_id = start.house.post("ingest", "plane", b"{}", artifact="bodies/t/table.csv")
    start.house.room.artifacts.write("bodies/t/table.csv", [b"a,b,y\n1,2,0\n3,4,1\n"])
    done = ingest.work(start.house.room, start.house.job(job_id), Claim("test", float("inf")))
    start(BA)
    assert done.settle is not None
    with start.house.db.begin() as tx, pytest.raises(JobFailed, match="declared anew while the rows were read"):
        done.settle(tx, start.house.clock())
    assert start.house.model("plane").rows == 0


class Store(MemoryRegistry):
    """A registry whose store is a file that `prepare` makes."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def prepare(self) -> None:
        self.file.touch()

    def ping(self) -> None:
        if not self.file.exists():
            raise RegistryDown("the store is away")


def test_the_first_store_is_made_by_who_trains_and_one_in_a_lost_ones_place_by_a_whole_start(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that comes back while a store with versions is away makes no empty one, which would spoil the true one."""
    file, settings = tmp_path / "store", start.house.settings
    monkeypatch.setattr(prepare, "open_registry", lambda _: Store(file))
    start(AB)
    assert not file.exists()
    prepare.make_first_store(settings)
    assert file.exists()
    with start.house.db.begin() as tx:
        versions.add(tx, Version("plane", 1, "j", 0.0, "models/x", "0" * 64, {}, {}, None, {}, {}, [0, 1]))
    file.unlink()
    prepare.make_first_store(settings)
    assert not file.exists()
    start(AB)
    assert file.exists()


def test_a_first_store_that_cannot_be_made_ends_the_worker(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its supervisor tries again; the folder of the store is missing here."""
    monkeypatch.setattr(prepare, "open_registry", lambda _: Store(tmp_path / "nowhere" / "store"))
    start(AB)
    with pytest.raises(SystemExit, match="1"):
        prepare.make_first_store(start.house.settings)
