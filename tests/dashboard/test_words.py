"""Numbers with units, moments in two zones, advice in one sentence, and other people's texts as text."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from continual.answers import Automation, Component, Health, Model, ModelStatus, Overview, Queue, Trial
from dashboard import charts, words
from dashboard.advice import Look, advice

PARIS = ZoneInfo("Europe/Paris")
AT = datetime(2026, 11, 25, 22, 30, 5, tzinfo=UTC)
EVIL = '<img src=x onerror="alert(1)">'


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0.0, "0 s"),
        (0.34, "340 ms"),
        (3.0, "3 s"),
        (5.24, "5.2 s"),
        (61, "61 s"),
        (180, "3 min"),
        (16_200, "4.5 h"),
        (200_000, "2 days"),
    ],
)
def test_durations_have_units(value: float | None, shown: str) -> None:
    assert words.seconds(value) == shown


def test_a_moment_is_the_readers_own_and_utc_on_hover() -> None:
    """With its day unless that is today there, which may be tomorrow."""
    html = words.moment(AT, PARIS)
    assert 'title="2026-11-25 22:30:05 UTC"' in html
    assert words.local(AT, PARIS, now=AT) == "23:30:05"
    assert words.local(AT, PARIS, now=datetime(2026, 11, 26, 1, tzinfo=UTC)) == "25 Nov, 23:30"
    assert words.local(AT, PARIS, now=datetime(2027, 1, 2, tzinfo=UTC)) == "25 Nov 2026, 23:30"
    assert words.moment(None, PARIS) == "never"


def test_texts_of_others_are_texts() -> None:
    """In HTML and where Streamlit would read Markdown: no tag, no link, no picture, no formula."""
    assert "<img" not in words.chip("info", EVIL, EVIL) + words.plain(EVIL)
    assert words.unmarked("![a](http://b) **c** :red[d] $e$").replace("\\", "") == "![a](http://b) **c** :red[d] $e$"
    assert "](" not in words.unmarked("![a](http://b)")


def test_every_state_and_event_has_a_sign_beside_its_colour() -> None:
    """Colour is never the only sign, and no two kinds share one."""
    assert len(set(words.MARK.values())) == len(words.COLOUR) == len(set(words.COLOUR.values()))
    assert len({mark for mark, _ in words.EVENTS.values()}) == len(words.EVENTS)
    assert set(words.KIND_OF.values()) <= words.MARK.keys()


def seen(state: str = "healthy", performance: float | None = 0.9, rows: int = 100, **down: Any) -> Look:
    """A look at a stack; `down` names components that are."""
    parts = {name: Component("down" if name in down else "ok") for name in ("database", "broker", "workers", "registry", "beat")}
    status = ModelStatus("default", "1", performance, 0.8, state, Automation(30.0, AT))
    model = Model("default", {}, {}, "1", {"metric": "accuracy"}, rows)
    queue = Queue("predict", 3, down.get("oldest", 0.0))
    overview = Overview(AT, [queue], 3, 0, [], 0.0)
    return Look(Health("ok", "1", parts), status, model, overview, down.get("notice", ""))


def tried() -> Look:
    """A drift that a challenger on trial is the answer to."""
    look = seen(state="drifting")
    trial = Trial("2", "shadow", 0.0, AT, AT, {}, 0, 0)
    return replace(look, status=msgspec.structs.replace(look.status, trial=trial))


@pytest.mark.parametrize(
    ("look", "kind", "part"),
    [
        (seen(), "success", "Nothing needs you."),
        (seen(database=1, beat=1, state="drifting"), "failure", "database"),
        (seen(workers=1), "failure", "No worker"),
        (seen(broker=1), "failure", "Redis"),
        (seen(beat=1), "failure", "Beat"),
        (seen(oldest=90.0), "warning", "3 jobs in the queue, the oldest for 90 s"),
        (seen(notice="A job died."), "warning", "A job died."),
        (seen(state="no_model", performance=None), "info", "first model is on its way"),
        (seen(state="drifting"), "drift", "A drift was found"),
        (seen(state="retraining"), "drift", "challenger"),
        (tried(), "info", "v2 is on trial beside v1"),
        (seen(performance=0.7), "warning", "accuracy 0.700 is below its floor of 0.8"),
        (seen(performance=None, rows=0), "info", "No labels yet"),
    ],
)
def test_the_gravest_thing_is_what_is_said(look: Look, kind: str, part: str) -> None:
    """One sentence, of the notification's kind that it would be."""
    found = advice(look)
    assert found[0] == kind
    assert part in found[1]


def test_the_preview_is_drawn_as_the_generator_draws() -> None:
    """Share of positives, mean of x1 and the agreement with the old rule, against the generator's own rows."""
    from ml.generator import generate

    for drift, strength in (("none", 0.5), ("covariate", 1.0), ("concept", 0.5), ("concept", 1.0)):
        drawn = charts.drawn(4_000, 0.05, drift, strength)
        rows, labels = generate(4_000, 2, 0.05, drift, strength, 1)  # type: ignore[arg-type]
        assert drawn["x1"].mean() == pytest.approx(rows[:, 0].mean(), abs=0.08)
        assert drawn["label"].mean() == pytest.approx(labels.mean(), abs=0.04)
        old = (drawn["x1"] + drawn["x2"] > 0) == drawn["label"]
        assert old.mean() == pytest.approx(((rows.sum(axis=1) > 0) == labels).mean(), abs=0.04)
