"""The client against the real API: each verb does what it says, and comes back typed."""

from __future__ import annotations

import io
import re
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from werkzeug.serving import make_server

import continual.client
from continual import ApiError, Client, Job, Table, answers, every
from continual.doctor import over_http
from storage import champions, shadows
from storage.shadows import Shadow
from storage.trials import Trial
from tests.api.conftest import believing as believing
from tests.authority import Authority
from tests.continual.conftest import URL, Served
from tests.examples.conftest import KEY, Played
from tests.needs import program

ROWS = [[0.5, 1.5], [-2.0, -1.0]]


def test_rows_come_back_as_labels(client: Client) -> None:
    """Lists, objects and a numpy array give the same two predictions."""
    forms: list[Any] = [ROWS, [{"x2": x2, "x1": x1} for x1, x2 in ROWS], np.array(ROWS)]
    jobs = [client.wait(client.predict(form)) for form in forms]
    assert [job.succeeded for job in jobs] == [True] * 3
    assert [[each["label"] for each in job.result["predictions"]] for job in jobs] == [[1, 0]] * 3
    assert jobs[0].created_at.tzinfo is not None


def test_a_table_is_sent_in_each_form_and_fetched_in_each_form(client: Client, tmp_path: Path) -> None:
    """CSV from a path, Parquet and Arrow from memory; the result as CSV, Parquet and Arrow has the same rows."""
    columns = pa.table({"x1": [0.5, -2.0], "x2": [1.5, -1.0]})
    (tmp_path / "rows.csv").write_text("x1,x2\n0.5,1.5\n-2.0,-1.0\n")
    parquet, arrow = io.BytesIO(), io.BytesIO()
    pq.write_table(columns, parquet)
    with pa.ipc.new_stream(arrow, columns.schema) as stream:
        stream.write_table(columns)
    tables: list[Table | Path] = [
        tmp_path / "rows.csv",
        Table("r.parquet", parquet.getvalue()),
        Table("r.arrow", arrow.getvalue()),
    ]
    jobs = [client.wait(client.predict(table)) for table in tables]
    assert [job.status for job in jobs] == ["succeeded"] * 3, jobs
    job = jobs[0]
    csv, arrows, parquets = (b"".join(client.result_chunks(job.id, f"o{end}")) for end in (".csv", ".arrow", ".parquet"))
    assert [line.split(",")[1].strip('"') for line in csv.decode().splitlines()] == ["label", "1", "0"]
    assert pa.ipc.open_stream(arrows).read_all()["label"].to_pylist() == [1, 0]
    assert pq.read_table(io.BytesIO(parquets))["label"].to_pylist() == [1, 0]
    assert [each["label"] for each in client.result(job.id)["predictions"]] == [1, 0]


def test_a_file_of_no_known_form_is_refused_here(client: Client) -> None:
    """Nothing is sent."""
    with pytest.raises(ValueError, match=r"rows.xlsx: expected a name that ends in .csv, .parquet"):
        client.predict(Path("rows.xlsx"))


def test_labels_go_back_by_id_or_by_job(client: Client) -> None:
    """First by id, then for the whole job: one of them is known already; what was corrected has a history."""
    job = client.wait(client.predict(ROWS))
    by_id = client.feedback({f"{job.id}:0": 1, "nothing:7": 1})
    by_job = client.feedback([1, 1], job_id=job.id)
    client.feedback({f"{job.id}:1": 0})
    assert (by_id.accepted, by_id.unknown) == (1, ["nothing:7"])
    assert (by_job.accepted, by_job.duplicate) == (1, 1)
    assert [(each.label, len(each.history)) for each in client.labels(job.id)] == [(1, 0), (0, 1)]


def test_a_table_of_labels_is_one_job(client: Client, tmp_path: Path) -> None:
    """By prediction or by a job's rows; one that is impossible leaves nothing stored."""
    job = client.wait(client.predict(ROWS))
    (tmp_path / "truth.csv").write_text(f"prediction_id,label\n{job.id}:0,0\nnothing:7,1\n")
    by_id = client.wait(client.upload_labels(tmp_path / "truth.csv"))
    by_row = client.wait(client.upload_labels(Table("t.csv", b"row,label\n0,0\n1,1\n"), job.id))
    impossible = client.wait(client.upload_labels(Table("t.csv", b"row,label\n0,1\n1,7\n"), job.id))
    assert (by_id.result["accepted"], by_id.result["unknown"]) == (1, ["nothing:7"])
    assert (by_row.result["accepted"], by_row.result["duplicate"]) == (1, 1)
    assert impossible.error is not None and impossible.error.type == "invalid_rows"
    assert [each.label for each in client.labels(job.id)] == [0, 1]


@pytest.mark.usefixtures("believing")
def test_a_model_is_declared_taught_and_looked_at(client: Client) -> None:
    """PUT, an upload, a check, and what the lists then hold."""
    problem = {"task": "binary", "label": "y", "metric": "accuracy", "estimator": "sklearn.linear_model.LogisticRegression"}
    made = client.put_model("mine", {**problem, "features": {"a": "number"}})
    rows = "\n".join(f"{n / 100},{int(n > 100)}" for n in range(200))
    job = client.wait(client.upload(Table("rows.csv", f"a,y\n{rows}\n".encode()), "mine"))
    client.wait(client.check("mine"))
    assert (made.champion, job.result["rows"]) == (None, 200)
    assert client.dataset(job.result["dataset_id"]).model == "mine"
    assert {each.name for each in client.models()} == {"default", "mine"}
    assert [each.aliases for each in client.versions("mine")] == [["champion"]]
    (first,) = [check for check in client.checks("mine") if check.decision == "first"]
    assert first.everything["train_job"] == first.train_job
    assert [each.action for each in client.decisions("mine")] == ["promote", "train"]
    status = client.status("mine")
    assert (status.version, status.state, status.threshold) == ("1", "healthy", 0.8)


def test_a_job_is_followed_to_its_end(client: Client) -> None:
    """Whoever listens hears of each change, the last of them its end."""
    heard: list[Job] = []
    job = client.wait(client.generate(samples=50, seed=3), told=heard.append)
    assert heard[-1] == job
    assert job.result["rows"] == 50
    assert [each.id for each in client.events(job.id)] == [job.id]


def test_who_waits_for_a_job_that_does_not_end_is_told_of_it_when_the_time_is_up() -> None:
    """Nobody works: heard once that it waits, whether or not somebody listens."""
    view = {"id": "j", "kind": "predict", "model": "default", "status": "queued", "created_at": "2026-11-30T00:00:00Z"}

    def held(request: httpx.Request) -> httpx.Response:
        time.sleep(float(request.url.params.get("wait", 0)))
        return httpx.Response(200, json=view)

    heard: list[Job] = []
    with Client(URL, carrier=httpx.MockTransport(held)) as client:
        for told in (heard.append, None):
            began = time.monotonic()
            assert client.wait("j", 0.7, told).status == "queued"
            assert 0.7 <= time.monotonic() - began < 5
    assert len(heard) == 1


def test_lists_are_read_to_their_end(client: Client) -> None:
    """More than one page of jobs; a filter holds on every page."""
    posted = [client.predict(ROWS).id for _ in range(3)]
    first = client.jobs(kind="predict", limit=2)
    assert [each.id for each in first] == [posted[2], posted[1]]
    assert client.jobs(kind="predict", limit=1, cursor=first.next_cursor).entries[0].id == posted[0]
    found = [each.id for each in every(client.jobs, kind="predict", limit=2)]
    assert found[:3] == posted[::-1]
    assert len(found) == len(set(found)) == len(client.jobs(kind="predict", limit=100))


def test_a_token_is_made_used_and_revoked(client: Client, stack: Played) -> None:
    """Its holder may do what its role may, and after its end nothing."""
    token = client.make_token("ana", "viewer")
    with Client(URL, token.token, carrier=stack) as ana:
        assert ana.jobs().entries
        with pytest.raises(ApiError) as small:
            ana.rollback()
        client.revoke_token(token.id)
        with pytest.raises(ApiError) as gone:
            ana.jobs()
    assert (small.value.status, gone.value.status) == (403, 401)
    assert token.id not in [each.id for each in client.tokens()]


def test_a_refusal_carries_its_problem(client: Client) -> None:
    """A 422: the sentence, each fault with its place, the request's id in the API's log."""
    with pytest.raises(ApiError) as refused:
        client.predict([[1.0, 2.0], [1.0, "x"]])
    problem = refused.value.problem
    assert (refused.value.status, problem.title) == (422, "Unprocessable Entity")
    assert problem.errors[0].loc[:2] == ("instances", 1)
    assert str(refused.value) == problem.detail
    assert problem.request_id


def test_jobs_that_cannot_be_cancelled_retried_or_rolled_back_say_so(client: Client) -> None:
    """409 from each."""
    job = client.wait(client.predict(ROWS))
    for act in (lambda: client.cancel(job.id), lambda: client.retry(job.id), client.rollback):
        with pytest.raises(ApiError) as refused:
            act()
        assert refused.value.status == 409


def test_health_is_an_answer_also_when_it_is_bad(client: Client) -> None:
    """No broker here: degraded, in words; metrics are text."""
    health = client.health()
    assert health.status == "degraded"
    assert health.components["broker"].status == "down"
    assert "continual_" in client.metrics() or "celery_" in client.metrics()
    assert client.incidents().entries is not None


def test_a_trial_is_seen_and_stopped_and_what_it_answered_beside_the_champion(stack: Played, client: Client) -> None:
    """In the status; stopped it is gone, and there is none to be stopped."""
    figures = {"rows": 3, "rows_limit": 2_000, "better": 1.5, "worse": 0.5, "limit": 100.0}
    job = client.predict(ROWS).id
    now = stack.house.clock()
    with stack.house.db.begin() as tx:
        tried = Trial("default", "2", "1", "shadow", "job", "drift:default", now, 0, None, {}, {}, figures, 10, 9)
        champions.try_out(tx, tried, "Version 2 won the gate.", {"by": "gate"}, now)
        shadows.log(tx, [Shadow(job, "default", "2", 1, 1, '[{"prediction_id":"x:0","label":1}]', now)])
    shown = client.status().trial
    assert shown is not None and (shown.version, shown.mode, shown.figures, shown.agreed) == ("2", "shadow", figures, 9)
    assert client.shadow(job).predictions == [{"prediction_id": "x:0", "label": 1}]
    assert client.stop_trial().trial is None
    with pytest.raises(ApiError) as none:
        client.stop_trial()
    assert none.value.status == 409


PAIRS = {
    answers.Act: "ActView",
    answers.Component: "Component",
    answers.Dataset: "DatasetView",
    answers.Decision: "DecisionView",
    answers.Feature: "FeatureView",
    answers.Health: "HealthView",
    answers.Incident: "IncidentView",
    answers.Inputs: "InputsView",
    answers.Job: "JobView",
    answers.Label: "LabelView",
    answers.Model: "ModelView",
    answers.ModelStatus: "StatusView",
    answers.NewToken: "NewTokenView",
    answers.Overview: "OverviewView",
    answers.Process: "ProcessView",
    answers.Queue: "QueueView",
    answers.Setting: "SettingView",
    answers.Shadow: "ShadowView",
    answers.Stored: "FeedbackView",
    answers.Timeline: "TimelineView",
    answers.Token: "TokenView",
    answers.Trial: "TrialView",
    answers.Version: "VersionView",
}
LEFT_OUT = {"links", "model_trained", "needs_retraining", "automation_note"}  # ways that the client knows; older names


@pytest.mark.parametrize("of", PAIRS)
def test_what_the_api_tells_the_client_tells(client: Client, of: type[msgspec.Struct]) -> None:
    """Field by field, under the same name."""
    described = client._api.ask("GET", "/openapi.json")["components"]["schemas"]
    assert set(described[PAIRS[of]]["properties"]) - LEFT_OUT == set(of.__struct_fields__) - LEFT_OUT


def test_jobs_are_of_the_kinds_and_states_that_the_api_knows(client: Client) -> None:
    """As it describes its filters."""
    asked = client._api.ask("GET", "/openapi.json")["paths"]["/jobs"]["get"]["parameters"]
    known = {each["name"]: each["schema"].get("enum") for each in asked}
    assert (known["kind"], known["status"]) == (list(answers.KINDS), list(answers.STATUSES))


def test_every_route_has_a_method(client: Client) -> None:
    """But for the pages that people and probes ask for."""
    asked = re.findall(r"""f?"(/[a-z][^" ]*)\"""", Path(continual.client.__file__).read_text())
    known = {re.sub(r"{[^}]*}", "{}", path) for path in asked}
    described = client._api.ask("GET", "/openapi.json")["paths"]
    pages = {"/docs", "/openapi.json", "/livez", "/readyz", "/status"}
    assert {re.sub(r"{[^}]*}", "{}", path) for path in described} - pages == known - pages


class Lossy(httpx.BaseTransport):
    """Carries requests to the stack, and loses answers as told."""

    def __init__(self, stack: Played, faults: list[httpx.Response | Exception | None]) -> None:
        self.stack, self.faults = stack, faults
        self.seen: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """None passes, a response stands in for the stack's, an exception comes after the stack has done its work."""
        self.seen.append(request)
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, httpx.Response):
            return fault
        answer = self.stack.handle_request(request)
        if isinstance(fault, Exception):
            raise fault
        return answer


def busy(status: int, seconds: str) -> httpx.Response:
    """A stack that asks to come again."""
    return httpx.Response(status, headers={"Retry-After": seconds}, json={"title": "Busy", "status": status, "detail": "Later."})


def test_a_lost_answer_makes_no_second_job(stack: Played) -> None:
    """The POST was done, its answer lost: sent again under the same key, it is the same job."""
    carrier = Lossy(stack, [None, None, httpx.ReadError("gone")])
    with Client(URL, KEY, carrier=carrier) as client:
        client.jobs()
        before = len(client.jobs(kind="predict", limit=100))
        job = client.predict(ROWS)
        after = [each.id for each in client.jobs(kind="predict", limit=100)]
        assert (after[0], len(after)) == (job.id, before + 1)
    posts = [request.headers["Idempotency-Key"] for request in carrier.seen if request.method == "POST"]
    assert len(posts) == 2
    assert len(set(posts)) == 1


def test_a_busy_stack_is_waited_for_as_long_as_patience_lasts(stack: Played) -> None:
    """429 and 503 with Retry-After 0: the third try is answered; asked to wait longer than that, the refusal is raised."""
    with Client(URL, KEY, carrier=Lossy(stack, [busy(429, "0"), busy(503, "0")])) as client:
        assert client.predict(ROWS).id
    with (
        Client(URL, KEY, patience_s=5, carrier=Lossy(stack, [busy(429, "30")])) as client,
        pytest.raises(ApiError, match=r"Later\.") as refused,
    ):
        client.jobs()
    assert refused.value.status == 429


def test_what_is_not_safe_to_repeat_is_not_repeated(stack: Played) -> None:
    """A token whose answer was lost: raised, for nobody knows; one token, not two."""
    carrier = Lossy(stack, [None, httpx.ReadError("gone")])
    with Client(URL, KEY, carrier=carrier) as client:
        client.jobs()
        with pytest.raises(ApiError) as lost:
            client.make_token("bob", "viewer")
        assert lost.value.unanswered
        assert [each.name for each in client.tokens()].count("bob") == 1


def test_a_stack_that_was_never_there_is_told_at_once() -> None:
    """No patience for it: one sentence with the address."""
    with (
        Client("http://127.0.0.1:1", "any") as client,
        pytest.raises(ApiError, match=r"No stack answers at http://127\.0\.0\.1:1 \(ConnectError\)\.") as nobody,
    ):
        client.jobs()
    assert nobody.value.unanswered


def test_a_stack_behind_a_private_authority_is_trusted_by_who_is_told_to(
    stack: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE holds for this machine's own address too, and for the doctor's look at the clock."""
    program("openssl")
    authority = Authority(tmp_path)
    authority.make()
    authority.certify("server", "127.0.0.1")
    server = make_server(
        "127.0.0.1", 0, stack.app, ssl_context=(str(tmp_path / "server.pem"), str(tmp_path / "server.key")), threaded=True
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with Client(f"https://127.0.0.1:{server.port}", KEY) as stranger, pytest.raises(ApiError, match="No stack answers"):
            stranger.health()
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
        with Client(f"https://127.0.0.1:{server.port}", KEY) as told:
            found = {each.name: each.ok for each in over_http(told, KEY)}
        assert (found["api"], found["clock"], found["token"]) == (True, True, True)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_another_program_at_that_address_is_told(stack: Played) -> None:
    """A page of HTML is no answer of the API's, and neither is JSON of another shape."""
    pages = [httpx.Response(200, html="<p>Hello</p>"), httpx.Response(200, json={"a": 1}), httpx.Response(502, html="<p>Bad</p>")]
    with Client(URL, carrier=Lossy(stack, list(pages))) as client:
        with pytest.raises(ApiError, match=r"answers 200 with text/html.*: this is not the API"):
            client.models()
        with pytest.raises(ApiError, match="not what this client knows"):
            client.health()
        with pytest.raises(ApiError, match="502 <p>Bad</p>"):
            client.models()
