"""Jobs: what was asked for, how far it is, why it failed, and its end by request."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import streamlit as st

from continual import ApiError, answers
from continual.answers import KINDS, STATUSES
from dashboard import look, words
from dashboard.stack import client, say, settings

EVERY_S = 2
RETRIED = ("predict", "generate", "ingest", "notify")


def show() -> None:
    """Draw the page: one job where the address names one, else the list."""
    job_id = st.query_params.get("job")
    if job_id:
        _one(job_id)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.selectbox("Kind", ("any", *KINDS), width=170)
        status = st.selectbox("Status", ("any", *STATUSES), width=170)
        model = st.text_input("Model", placeholder="any", width=200)
        st.link_button("Flower", settings().flower_page, icon=":material/open_in_new:")
    asked = (None if kind == "any" else kind, None if status == "any" else status, model.strip() or None)
    if st.session_state.get("asked") != asked:
        st.session_state["asked"], st.session_state["before"] = asked, [None]
    _listed(*asked)


@st.fragment(run_every=EVERY_S)
def _listed(kind: str | None, status: str | None, model: str | None) -> None:
    before: list[str | None] = st.session_state["before"]
    try:
        page = client().jobs(kind=kind, status=status, model=model, cursor=before[-1])
    except ApiError as error:
        say(error)
        return
    if not page.entries:
        look.empty("No job is like that. Every request that takes time is a job: post one on Try it or on Data.")
    with st.container(gap="xxsmall"):
        for job in page:
            _row(job)
    with st.container(horizontal=True):
        if len(before) > 1 and st.button("Newer", icon=":material/arrow_back:"):
            before.pop()
            st.rerun(scope="fragment")
        if page.next_cursor and st.button("Older", icon=":material/arrow_forward:"):
            before.append(page.next_cursor)
            st.rerun(scope="fragment")


def _row(job: answers.Job) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key=f"row-{job.id}"):
        st.html(
            f'<div class="job">{words.chip(words.KIND_OF[job.status], job.status)}<span>{words.plain(job.kind)}</span>'
            f"<span>{words.plain(job.model)}</span><span>{look.moment(job.created_at)}</span>"
            f"<span>{took(job)}</span>{_bar(job)}</div>",
            width="stretch",
        )
        if st.button("Open", key=f"open-{job.id}", help=f"{job.kind} {job.id}"):
            st.query_params["job"] = job.id
            st.rerun()


def took(job: answers.Job, now: datetime | None = None) -> str:
    """How long it ran, or has been running or waiting."""
    end = job.finished_at or now or datetime.now(UTC)
    begin = job.started_at or job.created_at
    return words.seconds(max(0.0, (end - begin).total_seconds()))


def _bar(job: answers.Job) -> str:
    if job.status != "running" or job.progress is None:
        return ""
    share = f"{100 * job.progress:.0f}"
    told = f'role="progressbar" aria-valuenow="{share}" aria-label="progress"'
    return f'<span class="bar" {told}><i style="width:{share}%"></i></span>'


def _one(job_id: str) -> None:
    if st.button("All jobs", icon=":material/arrow_back:"):
        del st.query_params["job"]
        st.rerun()
    _followed(job_id)


@st.fragment(run_every=EVERY_S)
def _followed(job_id: str) -> None:
    try:
        job = client().job(job_id)
    except ApiError as error:
        say(error)
        return
    look.heading(f"{job.kind} · {job.id}")
    look.figures(
        [
            ("status", words.chip(words.KIND_OF[job.status], job.status), ""),
            ("model", words.plain(job.model), ""),
            ("attempt", str(job.attempt), ""),
            ("accepted", look.moment(job.created_at), ""),
            ("began", look.moment(job.started_at), ""),
            ("ended", look.moment(job.finished_at) if job.finished_at else "not yet", took(job)),
        ]
    )
    if job.status == "running":
        st.progress(job.progress or 0.0, "at work" if job.progress is None else f"{job.progress:.0%}")
    _acts(job)
    _ended(job)


def _acts(job: answers.Job) -> None:
    with st.container(horizontal=True):
        if not job.ended and st.button("Cancel", icon=":material/cancel:"):
            _do(lambda: client().cancel(job.id))
        if job.status in ("failed", "dead") and job.kind in RETRIED and st.button("Retry", icon=":material/replay:"):
            _do(lambda: client().retry(job.id))
        if job.task_id:
            url = f"{settings().flower_page}/task/{job.task_id}"
            st.link_button("In Flower", url, icon=":material/open_in_new:")


def _do(act: Callable[[], answers.Job]) -> None:
    try:
        became = act()
    except ApiError as error:
        say(error)
        return
    st.query_params["job"] = became.id
    st.rerun()


def _ended(job: answers.Job) -> None:
    if job.error is not None:
        attempts = words.count(job.error.attempts, "attempt")
        st.error(
            f"{words.unmarked(job.error.type)} after {attempts}: {words.unmarked(job.error.message)}", icon=":material/error:"
        )
        if job.error.errors:
            rows = [[words.plain(".".join(map(str, each["loc"]))), words.plain(each["msg"])] for each in job.error.errors[:100]]
            look.table(["where", "what"], rows, "Faults of the rows")
    if job.result is not None:
        look.heading("Result")
        st.json(job.result, expanded=2)
