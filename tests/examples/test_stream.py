"""The streaming client against a whole stack: it tells what happened, draws it, and never hides a failed job."""

from __future__ import annotations

import gzip
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from examples import make_rooms
from examples.stack import Refused, Stack
from examples.stream import Source, Truth, main
from problems.catalog import read_problems
from tests.examples.conftest import EXAMPLES, Play, Played, declare

WARM = ["--warm", "1000"]
Rooms = Callable[[int], Path]


def fact(told: str, name: str) -> float:
    """The number that the report gives for a name."""
    found = re.search(rf"^  {name} +([\d.]+)", told, re.MULTILINE)
    assert found, told
    return float(found[1])


def test_a_stream_in_step_is_mended_by_the_stack_and_drawn(
    play: Play, rooms: Rooms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The light changes its meaning: one alarm, a promotion, good accuracy again, and a plot of it."""
    assert play(rooms(4_000), *WARM, "--model", "new", "--problem", str(EXAMPLES / "rooms.toml")) == 0
    told = capsys.readouterr().out
    assert "3,000 rows predicted and labelled" in told
    assert fact(told, "accuracy") > 90
    assert fact(told, "alarms") >= 1
    assert fact(told, "trainings") >= 3
    assert int(told.split(" promoted")[0].split("(")[-1]) >= 2
    assert fact(told, "failed jobs") == 0
    assert (tmp_path / "rooms.png").read_bytes()[:4] == b"\x89PNG"
    width, height = struct.unpack(">II", (tmp_path / "rooms.png").read_bytes()[16:24])
    assert (width, height) == (1600, 800)


def test_two_replays_in_step_are_the_same(play: Play, played: Played, rooms: Rooms, capsys: pytest.CaptureFixture[str]) -> None:
    """The same file, into two models that know nothing: the same accuracy, alarms and trainings."""
    declare(played.house, "again")
    told = []
    for model in ("rooms", "again"):
        assert play(rooms(1_500), *WARM, "--chunk", "250", "--model", model) == 0
        told.append(capsys.readouterr().out.splitlines()[1:5])
    assert "2  (1 promoted, 1 rejected" in told[0][2]
    assert told[0] == told[1]


def test_left_to_beat_the_checks_and_trainings_are_found_in_the_lists(
    play: Play, played: Played, rooms: Rooms, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client asks for no check, and still tells of the alarm that beat's checks raised."""
    played.beats = True
    assert play(rooms(3_600), *WARM, "--rows-per-second", "100000") == 0
    told = capsys.readouterr().out
    assert fact(told, "alarms") >= 1
    assert fact(told, "accuracy") > 85
    assert len(played.house.checks("rooms")) >= 6


def test_a_job_that_fails_is_told_and_is_the_exit_status(play: Play, rooms: Rooms, capsys: pytest.CaptureFixture[str]) -> None:
    """One unreadable cell: its chunk's job fails, the others are played, and the status is 1."""
    file = rooms(1_600)
    lines = file.read_text().splitlines(keepends=True)
    lines[1_250] = "1249,office,dark,700,21.0,false,1\n"
    file.write_text("".join(lines))
    assert play(file, *WARM, "--chunk", "200") == 1
    told = capsys.readouterr().out
    assert "400 rows predicted" in told
    assert fact(told, "failed jobs") == 1
    assert "invalid_rows" in told


def test_without_matplotlib_one_line_says_so_and_the_numbers_stay(
    play: Play, rooms: Rooms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plot is left out, nothing else."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert play(rooms(1_100), *WARM) == 0
    told = capsys.readouterr().out
    assert "No plot: matplotlib is missing (pip install matplotlib)." in told
    assert "100 rows predicted" in told
    assert not (tmp_path / "rooms.png").exists()


def test_a_file_that_does_not_fit_the_model_is_refused_before_anything_is_sent(
    play: Play, played: Played, tmp_path: Path
) -> None:
    """The missing column is named; no dataset and no job was made."""
    file = tmp_path / "other.csv"
    file.write_text("minute,light,occupied\n1,2,0\n")
    with pytest.raises(Refused, match=r"has no column room, co2, temperature, window_open; its columns are minute, light"):
        play(file, *WARM)
    assert played.house.model("rooms").rows == 0


def test_a_file_without_rows_to_stream_is_refused(play: Play, rooms: Rooms) -> None:
    """All its rows would be the warm ones."""
    with pytest.raises(Refused, match="nothing is left to stream"):
        play(rooms(1_000), *WARM)


def test_without_a_stack_the_command_ends_with_one_line(rooms: Rooms, capsys: pytest.CaptureFixture[str]) -> None:
    """At once, not after a dozen tries."""
    with pytest.raises(SystemExit) as ended:
        main([str(rooms(10)), "--model", "rooms", "--url", "http://127.0.0.1:1", "--key", "any"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "No stack answers at http://127.0.0.1:1: start one with `make up`, or give --url.\n"


def test_gzipped_and_plain_files_give_the_same_rows(rooms: Rooms, tmp_path: Path) -> None:
    """The ending decides; the header is no row."""
    plain = rooms(20)
    zipped = tmp_path / "rooms.csv.gz"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(Source(zipped).rows()) == list(Source(plain).rows())
    assert Source(zipped).header == make_rooms.HEADER
    assert len(list(Source(plain).rows())) == 20


@pytest.mark.parametrize(
    ("task", "classes", "cell", "expected"),
    [
        ("binary", [0, 1], "1", 1),
        ("binary", [0, 1], "1.0", 1),
        ("binary", [False, True], "TRUE", True),
        ("binary", ["no", "yes"], " yes ", "yes"),
        ("multiclass", [1, 2, 3], "4", 4),
        ("multiclass", ["1", "b"], "1", "1"),
        ("multiclass", ["a", "b"], "c", "c"),
        ("regression", None, "3", 3.0),
    ],
)
def test_a_cell_is_read_as_the_label_that_the_model_knows(
    task: str, classes: list[object] | None, cell: str, expected: object
) -> None:
    """In the type it was taught with; a new class as the number or text that it looks like."""
    read = Truth.of({"schema": {"task": task, "classes": classes}}).read(cell)
    assert (read, type(read)) == (expected, type(expected))


def test_a_label_that_is_no_number_is_refused_in_words() -> None:
    """A regression cannot learn from text."""
    with pytest.raises(Refused, match="'many' is not a number"):
        Truth(True, {}).read("many")


def test_the_sample_problem_fits_its_made_up_stream(tmp_path: Path) -> None:
    """Every column is a feature, the label or ignored; the same seed writes the same rows."""
    (tmp_path / "rooms.toml").write_bytes((EXAMPLES / "rooms.toml").read_bytes())
    (problem,) = read_problems(tmp_path)
    assert {each.name for each in problem.features} | {problem.label, *problem.ignore} == set(make_rooms.HEADER)
    assert list(make_rooms.rows(50, 7)) == list(make_rooms.rows(50, 7))
    assert list(make_rooms.rows(50, 7)) != list(make_rooms.rows(50, 8))


def test_a_busy_stack_is_waited_for_and_asked_with_the_same_key() -> None:
    """429 and 503 are no answers yet: the third try brings the job, under the first one's Idempotency-Key."""
    answers = [httpx.Response(429, headers={"Retry-After": "0"}), httpx.Response(503), httpx.Response(202, json={"id": "1"})]
    keys = []

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        return answers[len(keys) - 1]

    with httpx.Client(transport=httpx.MockTransport(answer), base_url="http://stack") as http:
        assert Stack(http).ask("POST", "/predict", json={}) == {"id": "1"}
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_a_refusal_is_told_with_its_faults(played: Played) -> None:
    """A 401 by its detail; a 422 with where and what."""
    with (
        httpx.Client(transport=played, base_url="http://stack") as http,
        pytest.raises(Refused, match=r"GET /models: 401 "),
    ):
        Stack(http).ask("GET", "/models")
