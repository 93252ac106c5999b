"""A whole stack in one process for the examples: the real API and the real workers' rooms on one ledger."""

from __future__ import annotations

import csv
import itertools
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from api.app import close, create_app
from examples import make_rooms
from examples.stack import Stack
from examples.stream import arguments, run
from storage.database import Database
from tests.workers.conftest import NOWHERE, House

KEY = "a-key-for-tests-only"
EXAMPLES = Path(make_rooms.__file__).parent
Play = Callable[..., int]


class Played(httpx.BaseTransport):
    """Answers by the API; what a request has put into the queue is carried out before its answer is given.

    Attributes:
        beats: with labels, beat's tick comes too.
    """

    def __init__(self, api: httpx.WSGITransport, house: House) -> None:
        self.api, self.house = api, house
        self.beats = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer; `Prefer: wait` is left out, since nobody works while the API answers."""
        request.headers.pop("Prefer", None)
        answer = self.api.handle_request(request)
        answer.read()
        self.house.settle()
        if self.beats and request.url.path == "/feedback":
            self.house.tick()
        return answer


def declare(house: House, name: str) -> None:
    """Make a model of the sample problem, as a problem file does."""
    house.declare(name, **tomllib.loads((EXAMPLES / "rooms.toml").read_text()))


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    """The stack, on an empty ledger."""
    monkeypatch.setattr("storage.ids._last", 0)
    house = House(tmp_path / "data", api_key=KEY)
    declare(house, "rooms")
    app = create_app(house.settings, Database(house.settings.ledger_url), NOWHERE, house.clock)
    yield Played(httpx.WSGITransport(app), house)
    close(app)
    house.room.close()


@pytest.fixture
def play(played: Played, tmp_path: Path) -> Play:
    """Stream a file to that stack, as the command does, and give its exit status."""

    def stream(file: Path, *options: str) -> int:
        given = [str(file), "--model", "rooms", "--plot", str(tmp_path / "rooms.png"), *options]
        with httpx.Client(transport=played, base_url="http://stack", headers={"Authorization": f"Bearer {KEY}"}) as http:
            return run(arguments(given), Stack(http))

    return stream


@pytest.fixture
def rooms(tmp_path: Path) -> Callable[[int], Path]:
    """Files of the made-up stream, cut off after so many rows of 6,000."""

    def write(rows: int) -> Path:
        file = tmp_path / f"rooms-{rows}.csv"
        with file.open("w", newline="") as target:
            csv.writer(target).writerows([make_rooms.HEADER, *itertools.islice(make_rooms.rows(6_000, 1), rows)])
        return file

    return write
