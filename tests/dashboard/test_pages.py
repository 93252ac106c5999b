"""Every page against the real API: empty, with a story, refused, and with texts that would like to be more than texts."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import select
from streamlit.testing.v1 import AppTest

from continual import Job
from dashboard import stack
from storage import champions, checks, claims, incidents, ledger, models, trials, versions
from storage.checks import Check
from storage.database import Database
from storage.ids import first_id
from storage.jobs import NewJob, add
from storage.ledger import Outcome
from storage.predictions import Logged
from storage.schema import jobs
from storage.trials import Trial
from storage.versions import Version
from tests.api.hand import PLANE, Hand
from tests.dashboard.conftest import Shown

BINS = {"x1": {"edges": [0.0, 1.0], "counts": [60, 20, 20], "missing": 0}, "x2": {"kinds": ["a"], "counts": [99], "others": 1}}
SEEN = {"feature": "x1", "test": "ks", "distance": 0.4, "psi": 0.9, "p": 1e-9, "drifted": True}
EVIL = "<script>alert(1)</script>"
PAGES = ("now", "model", "jobs", "trial", "data", "settings")


def text_of(page: AppTest) -> str:
    """All that a page says."""
    kinds = ("html", "markdown", "caption", "error", "warning", "success", "info", "header")
    return "\n".join(
        str(getattr(each, "value", None) or getattr(each.proto, "body", "")) for kind in kinds for each in page.get(kind)
    )


@pytest.fixture
def story(database: Database) -> Database:
    """The model `plane` with two versions, a drift between them, and what people were told."""
    now = time.time()
    with database.begin() as tx:
        sketch = {"rows": 100, "types": {"x1": "number", "x2": "category"}, "bins": BINS}
        data = {"datasets": [], "rows": 100}
        versions.add(
            tx, Version("plane", 2, "job", now - 90, "a", "0", {"score": 0.95, "rows": 100}, data, "1", {}, sketch, [0, 1])
        )
        for n, performance in enumerate((0.97, 0.9, 0.6, None, 0.95)):
            at = now - 300 + 50 * n
            features = [{**SEEN, "histogram": {"counts": [5, 5, 600], "missing": 2}}] if n == 4 else []
            said = {"decision": "ok", "labels_seen": 60, "statistic": 10.0**n, "limit": 1e4, "version": "2" if n > 2 else "1"}
            result = {**said, "performance": performance, "recent_performance": performance, "features": features}
            if n == 4:
                result["probation"] = {"against": "1", "rows": 1_300, "statistic": 0.25, "limit": 1_000.0}
            checks.add(tx, Check(first_id(at), f"job-{n}", "plane", at, result))
        champions.record(
            tx, "plane", "train", None, "1", f"It got worse. {EVIL}", now - 99, "j", {"check": {"decision": "drift"}}
        )
        candidates = [{"window": "since", "rows": 120, "score": 0.95, "mean_loss": 0.05, "standard_error": 0.0}]
        gate = {"candidates": candidates, "challenger_loss": 0.05, "champion_loss": 0.4, "holdout_rows": 250}
        champions.serve(tx, "plane", "2", 0, performance=0.95)
        champions.record(tx, "plane", "promote", "2", "1", "Version 2 promoted: better.", now - 90, "j", gate)
        incidents.tell(tx, "drift:plane", "plane", "drift", "resolved", f"Drift {EVIL}", ["10:00:00 mended"], now)
    return database


@pytest.mark.parametrize("page", PAGES)
def test_a_page_without_anything_to_show_says_what_will_fill_it(show: Shown, page: str) -> None:
    """No exception, and no blank: the model `empty` has neither version nor check."""
    shown = show(page, model="empty")
    assert not shown.exception
    assert not shown.error
    assert len(shown.main)


def test_the_first_page_tells_the_story_in_one_look(show: Shown, story: Database) -> None:
    """Which version serves and why, its performance and floor, the queue, each component, and what people were told."""
    shown = show("now", model="plane")
    said = text_of(shown)
    assert not shown.exception
    for part in (
        "<b>v2</b> serves",
        "Version 2 promoted: better.",
        "accuracy 0.950",
        "floor 0.7",
        "0 jobs",
        "database: It answers.",
        "mended",
    ):
        assert part in said, part
    assert "No worker takes predictions" in said  # none has given a sign of life here
    assert EVIL not in said


def test_the_model_page_has_charts_decisions_and_versions(show: Shown, story: Database) -> None:
    """Life, evidence and both features as pictures; decisions in words; no text of others as HTML."""
    shown = show("model", model="plane")
    assert not shown.exception
    assert len(shown.get("vega_lite_chart")) + len(shown.get("arrow_vega_lite_chart")) == 4
    labels = [each.label for each in shown.expander]
    assert [label.split("**")[1] for label in labels][:2] == ["Promotion", "Training"]
    said = text_of(shown)
    assert "PSI 0.90" in said
    assert (
        "v1 is asked for the same 1,300 labelled rows; evidence that it was better is 0.25, and at 1,000 it serves again" in said
    )
    assert "champion" in said
    assert EVIL not in said + "".join(labels)


def test_a_rollback_asks_first(show: Shown, story: Database) -> None:
    """One click opens the question and changes nothing; the browser tests answer it."""
    shown = show("model", model="plane").button(key="rollback").click().run()
    assert shown.button(key="rollback_yes").label
    with story.read() as tx:
        assert models.get(tx, "plane").champion == "2"  # type: ignore[union-attr]


def test_a_challenger_on_trial_is_seen_and_its_end_is_asked_for_first(show: Shown, story: Database) -> None:
    """On the first page in a line; on the model's with its evidence, its alias, and a question before it is stopped."""
    now = time.time()
    figures = {"rows": 300, "rows_limit": 2_000, "better": 12.5, "worse": 0.25, "limit": 100.0}
    with story.begin() as tx:
        tried = Trial("plane", "3", "2", "shadow", "job", "drift:plane", now, 0, None, {}, {}, figures, 200, 150)
        gate = {"candidates": [{"window": "recent", "rows": 90, "score": 0.96, "mean_loss": 0.04}], "holdout_rows": 77}
        champions.record(tx, "plane", "reject", None, "2", "The training failed: too few rows.", now)
        champions.try_out(tx, tried, "Version 3 won the gate.", gate, now)
        champions.record(tx, "plane", "reject", None, "2", "The training failed: too few rows.", now)
        versions.add(tx, Version("plane", 3, "job3", now, "b", "0", {"score": 0.96, "rows": 100}, {}, "2", {}, {}, [0, 1]))
    first = text_of(show("now", model="plane"))
    assert "v3 on trial" in first and "shadow, 300 of 2,000 labelled rows" in first
    page = show("model", model="plane")
    said = text_of(page)
    for part in (
        "On trial",
        "300 labelled rows",
        "12.5",
        "0.25",
        "of 100",
        "75.0%",
        "challenger",
        "Version 3 won the gate.",
        "77 rows",
    ):
        assert part in said, part
    asked = page.button(key="stop_trial").click().run()
    assert asked.button(key="stop_trial_yes").label
    with story.read() as tx:
        assert trials.get(tx, "plane") is not None


def test_one_row_is_predicted_and_labelled(show: Shown, hand: Hand) -> None:
    """The form made of the schema, the answer with its probabilities, and the label that the loop learns from."""
    with hand:
        shown = show("trial", model="plane")
        shown.number_input[0].set_value(1.0)
        shown.button[0].click().run()
        said = text_of(shown)
        assert "confidence 100%" in said
        shown.selectbox[-1].set_value(1)
        shown.button[-1].click().run()
    assert "Stored" in text_of(shown)


def test_jobs_are_filtered_opened_and_cancelled(show: Shown, database: Database) -> None:
    """A queued check is in the list of checks, opens by its address, and can be cancelled there."""
    job = stack.client().check("plane")
    assert "queued" in text_of(show("jobs"))
    opened = show("jobs", job=job.id)
    assert job.id in text_of(opened)
    next(each for each in opened.button if each.label == "Cancel").click().run()
    assert stack.client().job(job.id).status == "cancelled"


def test_a_token_is_shown_once(show: Shown) -> None:
    """Made with a name and a role; its secret is on the page once; the list has it after that, and revoking asks first."""
    shown = show("settings")
    shown.text_input[0].set_value(f"ci {EVIL}")
    next(each for each in shown.button if each.label == "Make a token").click().run()
    (secret,) = [each.value for each in shown.code]
    assert len(secret) >= 40
    shown.run()
    assert not shown.code
    assert EVIL not in text_of(shown)
    next(each for each in shown.button if each.label == "Revoke").click().run()
    assert any(each.label == "Revoke it" for each in shown.button)
    assert len(stack.client().tokens()) == 1


def refused(post: Callable[[], Job], _: object) -> None:
    """Posted, and nothing more is heard of it."""
    post()


def test_generated_rows_are_asked_for_with_their_drift(show: Shown, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn before; and then the sliders' values are the job's."""
    with database.begin() as tx:
        models.declare(tx, "default", {**PLANE, "ignore": []}, "declared", 1.0)
    monkeypatch.setattr("dashboard.views.data.followed", refused)
    shown = show("data", model="default")
    assert len(shown.get("vega_lite_chart")) + len(shown.get("arrow_vega_lite_chart")) == 1
    shown.radio[0].set_value("concept").run()
    shown.slider[0].set_value(0.7)
    next(each for each in shown.button if each.label == "Generate").click().run()
    assert not shown.exception
    with database.read() as tx:
        (asked,) = tx.execute(select(jobs.c.payload).where(jobs.c.kind == "generate")).scalars()
    assert {"samples": 1_000, "drift": "concept", "strength": 0.7}.items() <= msgspec.json.decode(asked).items()


@pytest.mark.parametrize("job_id", ["", "01a22dda-0343-75ce-854c-26640e4713c0"])
def test_a_file_of_labels_is_one_job(show: Shown, database: Database, monkeypatch: pytest.MonkeyPatch, job_id: str) -> None:
    """By prediction, or by the rows of the job that is named; what became of them is told in a sentence."""
    file = io.BytesIO(b"prediction_id,label\nx:0,1\n")
    file.name = "labels.csv"
    told = {"accepted": 1, "duplicate": 2, "unknown_count": 3}

    def ended(post: Callable[[], Job], _: object) -> Job:
        return msgspec.structs.replace(post(), status="succeeded", result=told)

    monkeypatch.setattr("streamlit.file_uploader", lambda *_, **__: file)
    monkeypatch.setattr("dashboard.views.data.followed", ended)
    if job_id:
        log_prediction(database, job_id)
    shown = show("data", model="plane")
    shown.text_input[0].set_value(job_id)
    next(each for each in shown.button if each.label == "Send labels").click().run()
    assert "1 label stored, 2 known already, 3 of no known prediction" in text_of(shown)
    with database.read() as tx:
        (asked,) = tx.execute(select(jobs.c.payload).where(jobs.c.kind == "ingest")).scalars()
    asked = msgspec.json.decode(asked)
    assert (asked["labels"], asked["job_id"], asked["format"]) == (True, job_id or None, "csv")


def log_prediction(database: Database, job_id: str) -> None:
    """A prediction of one row that has ended."""
    with database.begin() as tx:
        add(tx, [NewJob(job_id, "predict", "plane", "predict", 3)])
        claims.claim(tx, [job_id], "w", "t", 1.0, 30)
        ledger.finish(tx, "w", [Outcome(job_id, "succeeded", "{}")], 1.0, [Logged(job_id, "plane", "1", 1, b"", None, 1.0)])


def test_secrets_are_on_no_page(show: Shown) -> None:
    """The API key, of which the settings page says only that it is set."""
    from tests.api.conftest import KEY

    assert KEY not in text_of(show("settings"))


@pytest.mark.parametrize("page", PAGES)
def test_without_an_api_a_page_says_so(show: Shown, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, no traceback."""
    from continual import Client

    monkeypatch.setattr(
        stack, "Client", lambda url, key, **more: Client("http://127.0.0.1:1", key, **{**more, "patience_s": 0.0})
    )
    stack.client.clear()
    shown = show(page)
    assert not shown.exception
    assert any("No stack answers" in each.value for each in shown.error)


def test_a_story_is_drawn_in_each_zone(show: Shown, story: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader's own clock on the page, UTC on hover."""
    from zoneinfo import ZoneInfo

    from dashboard import look

    monkeypatch.setattr(look, "zone", lambda: ZoneInfo("Asia/Tokyo"))
    said: Any = text_of(show("now", model="plane"))
    assert " UTC" in said
