"""The command line against a stack that is served for real: what it says, what it leaves behind, its exit status."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from continual import Client
from continual.__main__ import main
from continual.answers import Decision
from continual.commands.models import story
from continual.commands.words import number
from tests.continual.conftest import Served
from tests.examples.conftest import KEY

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def url(stack: Served) -> Iterator[str]:
    """Where the stack is served; what a request puts into the queue is carried out before its answer leaves."""

    def answer(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        environ.pop("HTTP_PREFER", None)
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        body = list(stack.app(environ, start))
        stack.house.settle()
        return body

    server = make_server("127.0.0.1", 0, answer, threaded=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def run(url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command's exit status, and what it says on stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    for name in ("API_KEY", "DATA_DIR", "CONTINUAL_URL", "CONTINUAL_TOKEN", "API_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def ran(*arguments: str, token: str = KEY, at: str = url) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["--url", at, "--token", token, *arguments])
        said = capsys.readouterr()
        assert "\x1b" not in said.out + said.err
        return int(ended.value.code or 0), said.out, said.err

    return ran


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Two rows, as a file."""
    file = tmp_path / "rows.csv"
    file.write_text("x1,x2\n0.5,1.5\n-2.0,-1.0\n")
    return file


def test_a_file_is_predicted_and_its_labels_go_back(run: Run, rows: Path, tmp_path: Path) -> None:
    """`predict -o` leaves the predictions; the same file with a column of truth goes back; sent twice, it is known already."""
    status, said, _ = run("predict", str(rows), "--wait", "-o", "out.csv")
    assert (status, said) == (0, "2 rows predicted by default v1 → out.csv\n")
    with (tmp_path / "out.csv").open(newline="") as file:
        predictions = list(csv.DictReader(file))
    assert [each["label"] for each in predictions] == ["1", "0"]
    truth = "".join(f"{each['prediction_id']},1\n" for each in predictions)
    (tmp_path / "labels.csv").write_text(f"prediction_id,label\n{truth}nothing:1,1\n")
    status, said, _ = run("feedback", "labels.csv")
    assert (status, said) == (1, "2 labels stored, 0 known already, 1 of no known prediction\n  nothing:1\n")
    assert json.loads(run("feedback", "labels.csv", "--json")[1])["duplicate"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.csv", "out.csv", "rows.csv"]


def test_labels_stand_in_another_column_of_what_was_predicted_or_in_a_table_of_a_jobs_rows(
    run: Run, rows: Path, tmp_path: Path
) -> None:
    """What `predict -o` wrote, with the truth beside it; then the rows of the job, one without a label."""
    run("predict", str(rows), "--wait", "-o", "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        predicted = [{**each, "truth": "0"} for each in csv.DictReader(file)]
    with (tmp_path / "out.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(predicted[0]))
        writer.writeheader()
        writer.writerows(predicted)
    status, said, _ = run("feedback", "out.csv", "--column", "truth")
    assert (status, said) == (0, "2 labels stored, 0 known already, 0 of no known prediction\n")
    (tmp_path / "truth.csv").write_text("row,label\n0,0\n1,\n")
    job = predicted[0]["prediction_id"].partition(":")[0]
    status, said, _ = run("feedback", "truth.csv", "--job", job)
    assert (status, said) == (0, "0 labels stored, 1 known already, 0 of no known prediction, 1 without a label\n")
    (tmp_path / "truth.csv").write_text("row,label\n0,7\n")
    status, _, said = run("feedback", "truth.csv", "--job", job)
    assert (status, "expected one of" in said or "label" in said) == (1, True)


def test_a_job_is_posted_shown_and_waited_for(run: Run, rows: Path) -> None:
    """Without --wait its id comes back; `job --wait` tells of its end."""
    job = json.loads(run("predict", str(rows), "--json")[1])
    status, said, _ = run("job", job["id"], "--wait")
    assert (status, said.splitlines()[0]) == (0, "predict of default: succeeded, attempt 1")
    listed = json.loads(run("jobs", "--kind", "predict", "-n", "1", "--json")[1])
    assert [each["id"] for each in listed] == [job["id"]]


def test_a_job_that_fails_is_an_exit_status_of_1(run: Run, tmp_path: Path) -> None:
    """With its reason, and each fault of its rows; nothing is left of the file that was asked for."""
    (tmp_path / "bad.csv").write_text("x1,x2\n0.5,many\n")
    status, _, said = run("predict", "bad.csv", "-o", "out.csv")
    assert status == 1
    assert "x2" in said
    assert not (tmp_path / "out.csv").exists()


LISTS = ["jobs", "datasets", "models", "versions", "checks", "decisions", "tokens list", "audit", "status", "why"]


@pytest.mark.parametrize("command", LISTS)
def test_each_view_speaks_to_people_and_to_machines(run: Run, command: str) -> None:
    """A page of text, and the same as JSON."""
    status, text, _ = run(*command.split())
    assert (status, bool(text.strip())) == (0, True)
    status, said, _ = run(*command.split(), "--json")
    assert (status, isinstance(json.loads(said), list | dict)) == (0, True)


def test_status_is_eight_lines(run: Run) -> None:
    """The model and its state first, what needs somebody last; here no part is alive."""
    lines = run("status")[1].splitlines()
    assert len(lines) == 8
    assert lines[0].startswith("default   ● healthy   next check ")
    assert lines[2].startswith("v1 serves")
    assert lines[-1].endswith("ask `continual doctor`.")


def test_a_decision_is_told_as_a_story(run: Run) -> None:
    """By `last` and by the beginning of its id: what, why, and how to run it again."""
    found = json.loads(run("decisions", "--json")[1])
    told = run("why")[1]
    assert told.startswith(f"{found[0]['action']} ")
    assert found[0]["reason"] in told
    assert f"continual reproduce {found[0]['id']}" in told
    assert run("why", found[0]["id"])[1] == told
    status, _, said = run("why", "zzz")
    assert (status, "no decision's id begins so" in said) == (2, True)


def test_data_is_generated_and_uploaded(run: Run, tmp_path: Path) -> None:
    """The generated rows are a file too, and can go back as a dataset."""
    status, said, _ = run("generate", "--samples", "60", "--seed", "5", "-o", "rows.csv")
    assert (status, said.split(" rows,")[0]) == (0, "60")
    status, said, _ = run("upload", "rows.csv")
    assert (status, said.split(":")[0]) == (0, "60 rows kept, 0 left out")


def test_a_token_is_made_rotated_and_revoked_and_the_audit_knows(run: Run, url: str) -> None:
    """Both secrets are valid at once; each act is in the audit log, newest first."""
    first = json.loads(run("tokens", "create", "ana", "--role", "client", "--days", "30", "--json")[1])
    second = json.loads(run("tokens", "rotate", first["id"], "--grace", "1", "--json")[1])
    for made in (first, second):
        with Client(url, made["token"]) as ana:
            assert ana.jobs(limit=1).entries
    assert run("tokens", "revoke", first["id"])[0] == 0
    with Client(url, second["token"]) as ana:
        assert ana.jobs(limit=1).entries
    acts = json.loads(run("audit", "-n", "3", "--json")[1])
    assert [(each["action"], each["token_name"]) for each in acts] == [(act, "API_KEY") for act in ("revoke", "rotate", "create")]
    assert {each["address"] for each in acts} == {"127.0.0.1"}


def test_a_rollback_asks_first(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers: nothing is done. With --yes the API is asked, which has no earlier version here."""
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    status, _, said = run("rollback")
    assert (status, said.endswith("Stopped.\n")) == (1, True)
    status, _, said = run("rollback", "--yes")
    assert (status, bool(said)) == (1, True)


def test_asked_wrongly_is_an_exit_status_of_2(run: Run, tmp_path: Path, rows: Path) -> None:
    """Each with one sentence on stderr, and nothing on stdout."""
    (tmp_path / "labels.csv").write_text("a,b\n1,2\n")
    wrong = [
        ("job", "nothing"),
        ("predict", "none.csv"),
        ("predict", str(rows), "-m", "nobody"),
        ("predict", str(rows), "-o", "out.xlsx"),
        ("predict", str(rows), "-o", "nowhere/out.csv"),
        ("feedback", "labels.csv"),
        ("tokens", "create", "x", "--role", "king"),
        ("no-such-command",),
    ]
    for arguments in wrong:
        status, out, err = run(*arguments)
        assert (status, out, bool(err)) == (2, "", True), arguments


def test_a_wrong_token_and_a_stack_that_is_not_there_are_told_with_what_to_do(run: Run) -> None:
    """401 and no answer."""
    status, _, said = run("jobs", token="wrong")
    assert (status, "Give a token with --token or CONTINUAL_TOKEN." in said) == (2, True)
    status, _, said = run("jobs", at="http://127.0.0.1:1")
    assert (status, said.splitlines()[0]) == (1, "No stack answers at http://127.0.0.1:1 (ConnectError).")


def test_the_token_of_this_machines_stack_is_found(run: Run, url: str, tmp_path: Path) -> None:
    """In DATA_DIR/api_key; API_KEY of .env comes before it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "api_key").write_text(f"{KEY}\n")
    assert run("jobs", token="")[0] == 0
    (tmp_path / ".env").write_text("API_KEY=another\n")
    assert run("jobs", token="")[0] == 2


def test_the_doctor_names_what_is_wrong(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over HTTP alone: the parts of this stack that are down, and a wrong token; each with what to do."""
    monkeypatch.setattr("continual.doctor.behind", lambda: iter(()))
    status, said, _ = run("doctor", token="wrong")
    assert status == 1
    marks = {line.split()[1]: line[0] for line in said.splitlines() if line[0] in "✓✗"}
    assert {name: marks[name] for name in ("api", "database", "broker", "workers", "beat", "token")} == {
        "api": "✓", "database": "✓", "broker": "✗", "workers": "✗", "beat": "✗", "token": "✗",
    }  # fmt: skip
    assert said.count("→") >= 4
    assert run("doctor", at="http://127.0.0.1:1")[1].startswith("✗ api ")


def test_a_number_is_told_by_digits_that_say_something() -> None:
    given = ((None, 2), (0.9437, 2), (0.000421, 3), (1e305, 2), (1_000.0, 0), (0.0, 2))
    told = [number(value, digits) for value, digits in given]
    assert told == ["–", "0.94", "0.000421", "1e+305", "1,000", "0.00"]


def test_a_story_says_how_many_rows_nobody_could_learn() -> None:
    data = {"rows": 1_000, "left_out": 2, "seed": 7}
    found = Decision("d", datetime.now(UTC), "promote", "1", None, "It is the first.", None, {"data": data})
    assert "learnt from 1,000 rows, 2 left out: numbers that no estimator can learn, seed 7" in story(found)
