"""Now: is it working, is the model good, and does it need me?"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from continual import ApiError, answers
from dashboard import charts, look, words
from dashboard.advice import Look, advice
from dashboard.stack import client, say
from dashboard.views import challenger, choosing

EVERY_S = 5
RECENT_S = 24 * 3600.0
COMPONENTS = ("database", "broker", "workers", "registry", "beat")
REASONS = {"promote": "promoted by the loop", "rollback": "brought back by a rollback"}


def show() -> None:
    """Draw the page; it looks again by itself."""
    model = choosing.model(choosing.models())
    _state(model)


@st.fragment(run_every=EVERY_S)
def _state(model: answers.Model) -> None:
    try:
        seen = _look(model)
        timeline = client().timeline(model.name)
        decided = [each for each in client().decisions(model.name, limit=10) if each.action in REASONS]
    except ApiError as error:
        say(error)
        return
    kind, sentence = advice(seen)
    look.advice(kind, sentence)
    chart, words_ = st.columns([5, 3], gap="medium")
    with chart:
        _performance(timeline, seen)
    with words_:
        _champion(seen, decided)
    _figures(seen)
    _components(seen.health)
    _incidents()


def _look(model: answers.Model) -> Look:
    stack = client()
    return Look(stack.health(), stack.status(model.name), stack.model(model.name), stack.overview(), _notice())


def _notice() -> str:
    """A job that died lately, or a notification that went nowhere."""
    now = datetime.now(UTC)
    for status, kind, said in (
        ("dead", None, "A job took its worker down on every attempt: see it on Jobs, under dead."),
        ("failed", "notify", "A channel took no notification: on Jobs, under failed, it says why; Settings sends a test."),
    ):
        for job in client().jobs(status=status, kind=kind, limit=1):
            if (now - job.created_at).total_seconds() < RECENT_S:
                return said
    return ""


def _performance(timeline: answers.Timeline, seen: Look) -> None:
    if not timeline.points:
        look.empty("Nothing was checked in the last 24 h. Each check adds a point here; beat asks for one every interval.")
        return
    about = f"{timeline.metric} of {timeline.model} over the last 24 h, now {words.figure(seen.status.performance)}"
    st.altair_chart(charts.life(timeline, look.zone()), alt=about)
    look.legend()


def _champion(seen: Look, decided: list[answers.Decision]) -> None:
    status, metric = seen.status, str(seen.model.settings["metric"])
    state = words.chip(words.KIND_OF[status.state], status.state.replace("_", " "))
    st.html(f'<p class="chips">{state}<span>next check {look.moment(status.automation.next_check_at)}</span></p>')
    if status.version is None:
        st.write("No version serves yet.")
        return
    serving = f"<b>v{words.plain(status.version)}</b> serves"
    since = next((each for each in decided if each.version == status.version), None)
    if since is not None:
        serving += f" since {look.moment(since.created_at)}, {REASONS[since.action]}: {words.plain(since.reason)}"
    st.html(f"<p>{serving}</p>")
    if status.trial is not None:
        st.html(f'<p class="chips">{challenger.line(status.trial)}</p>')
    if status.performance is None:
        st.caption("Its performance shows once 100 labelled rows have come since then.")
    else:
        kept = words.is_good(metric, status.performance, status.threshold)
        chip = words.chip("success" if kept else "warning", f"{metric} {words.figure(status.performance)}")
        against = f"{words.bound(metric)} {status.threshold:g}"
        st.html(f'<p class="chips">{chip}<span>{against}</span></p>')
    if page := st.session_state.get("model_page"):
        st.page_link(page, label="Why, and the way back", icon=":material/arrow_forward:")


def _figures(seen: Look) -> None:
    overview = seen.overview
    workers = [each for each in overview.processes if each.component == "worker"]
    up = sum(each.up for each in workers)
    oldest = max((queue.oldest_age_s for queue in overview.queues), default=0.0)
    look.figures(
        [
            ("queue", words.count(overview.queued, "job"), f"oldest {words.seconds(oldest)}" if overview.queued else ""),
            ("running", words.count(overview.running, "job"), ""),
            ("workers", f"{up} up", f"{len(workers) - up} silent" if up < len(workers) else ""),
            ("predictions", f"{overview.predictions_per_s:,.1f}/s", "over the last 10 s"),
            ("labelled rows", f"{seen.model.rows:,}", _coverage(seen.status.labels)),
            ("last check", look.moment(seen.status.last_check_at), f"every {words.seconds(seen.status.automation.interval_s)}"),
        ]
    )


def _coverage(labels: dict[str, Any] | None) -> str:
    """The share of the last days' predictions that got a label."""
    share = (labels or {}).get("coverage")
    return "in the model's history" if labels is None or share is None else f"{share:.0%} of {labels['days']} days' predictions"


def _components(health: answers.Health) -> None:
    look.heading("Components")
    names = [*COMPONENTS, *(name for name in health.components if name not in COMPONENTS)]
    parts = [(name, health.components[name]) for name in names if name in health.components]
    chips = (words.chip(words.KIND_OF[part.status], _said(name, part)) for name, part in parts)
    st.html(f'<div class="chips">{"".join(chips)}</div>')


def _said(name: str, part: answers.Component) -> str:
    """That it is down is told in a word as well; that it is well its detail says."""
    return f"{name}: {part.detail}" if part.status == "ok" else f"{name} {part.status}: {part.detail}"


def _incidents() -> None:
    look.heading("What you were told")
    told = client().incidents(limit=5).entries
    if not told:
        look.empty(
            "Nothing yet. Drifts, retrainings, deaths of jobs and rollbacks are told here, and on Discord if a webhook is set."
        )
        return
    items = (
        f"<li><b>{words.chip(each.kind, each.title)}</b><span>{words.plain(each.state)}, {look.moment(each.updated_at)}</span>"
        f"<p>{_last_line(each)}</p></li>"
        for each in told
    )
    st.html(f'<ul class="news" aria-label="Incidents, newest first">{"".join(items)}</ul>')


def _last_line(incident: answers.Incident) -> str:
    """Its news, without the time of day in UTC that a message begins with: the reader's own stands beside it."""
    return words.plain(re.sub(r"^\d\d:\d\d:\d\d ", "", incident.lines[-1])) if incident.lines else ""
