"""Data: what the models learn from, who learnt from it, and data to be made."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from continual import Table, answers
from dashboard import charts, look, words
from dashboard.stack import asking, client, followed
from dashboard.views import choosing

DRAWN = 500
DRIFTS = {"none": "none: as ever", "covariate": "covariate: the inputs move", "concept": "concept: the rule turns"}
FORMS, LABEL_FORMS = ["csv", "parquet"], ["csv", "parquet", "arrow"]


def show() -> None:
    """Draw the page."""
    model = choosing.model(choosing.models())
    _datasets()
    upload, label, make = st.tabs(["Upload", "Labels", "Generate"])
    with upload:
        _upload(model)
    with label:
        _labels()
    with make:
        _generate(model)


def _datasets() -> None:
    look.heading("Datasets")
    with asking():
        found = client().datasets(limit=st.session_state.get("datasets_shown", 10))
        used = _used({each.model for each in found})
    if not found.entries:
        look.empty("None yet. Upload labelled rows or generate some below; the built-in model makes its first by itself.")
        return
    rows = [
        [
            look.moment(each.created_at),
            words.plain(each.model),
            words.plain(each.source),
            f"{each.rows:,}",
            f"{each.rejected:,}",
            ", ".join(f"v{words.plain(version)}" for version in used.get(each.id, [])) or "no version yet",
            f'<span class="mono" title="{words.plain(each.id)}">{words.plain(each.id[:8])}…</span>',
        ]
        for each in found
    ]
    columns = ["when", "model", "source", "rows", "left out", "learnt by", "dataset"]
    look.table(columns, rows, "Datasets, newest first", numbers=(3, 4))
    if found.next_cursor and st.button("More datasets"):
        st.session_state["datasets_shown"] = min(100, len(found) + 40)
        st.rerun()


def _used(models: set[str]) -> dict[str, list[str]]:
    """Which of the newest versions learnt from a dataset, by the dataset's id, oldest first."""
    used: dict[str, list[str]] = {}
    for model in models:
        for version in reversed(client().versions(model, limit=20).entries):
            for each in version.data.get("datasets", []):
                used.setdefault(each["id"], []).append(version.version)
    return used


def _upload(model: answers.Model) -> None:
    label = words.unmarked(model.schema["label"])
    given = st.file_uploader(f"Labelled rows of {words.unmarked(model.name)}, oldest first: its features and {label}", type=FORMS)
    history = st.checkbox("Older than all other rows (history, not evidence)")
    if given is not None and st.button("Upload", type="primary"):
        _follow(lambda: client().upload(Table(given.name, given.getvalue()), model.name, history=history), "Reading the rows…")


def _labels() -> None:
    job_id = st.text_input("Job whose rows they label", placeholder="none: each row names its prediction").strip()
    columns = "row and label" if job_id else "prediction_id and label"
    given = st.file_uploader(f"What the predictions really were, however late: columns {columns}", type=LABEL_FORMS)
    if given is None or not st.button("Send labels", type="primary"):
        return
    table = Table(given.name, given.getvalue())
    job = _ended_well(lambda: client().upload_labels(table, job_id or None), "Storing the labels…")
    if job is None:
        return
    told = job.result
    stored, known = words.count(told["accepted"], "label"), f"{told['duplicate']:,} known already"
    st.success(f"{stored} stored, {known}, {told['unknown_count']:,} of no known prediction. The next check judges by them.")


def _generate(model: answers.Model) -> None:
    types = set(model.schema["features"].values())
    if model.schema["task"] != "binary" or types != {"number"}:
        look.empty("What is generated has two classes and numbers only, which does not fit this model.")
        return
    controls, picture = st.columns(2, gap="medium")
    with controls:
        samples = st.number_input("Rows", 1, 10_000_000, 1_000, step=500)
        drift = st.radio("Drift", list(DRIFTS), format_func=lambda each: DRIFTS[each])
        strength = st.slider("Strength of the drift", 0.0, 1.0, 0.5, 0.05, disabled=drift == "none")
        noise = st.slider("Noise: share of flipped labels", 0.0, 1.0, 0.05, 0.01)
        seed = st.number_input("Seed (empty: a fresh one)", min_value=0, value=None, step=1)
        asked = st.button("Generate", type="primary")
    with picture:
        st.altair_chart(
            charts.scatter(charts.drawn(DRAWN, noise, drift, strength), "x1", "x2", "label"),
            alt=f"{DRAWN} rows as they would be drawn: drift {drift}, strength {strength:g}, noise {noise:g}",
        )
        st.caption(f"{DRAWN} rows as they would be drawn, on the first two features. Nothing is stored until you generate.")
    if asked:
        given: dict[str, Any] = {"samples": int(samples), "drift": drift, "strength": strength, "noise": noise}
        chosen = None if seed is None else int(seed)
        _follow(lambda: client().generate(model.name, **given, seed=chosen), "Drawing the rows…")


def _follow(post: Callable[[], answers.Job], said: str) -> None:
    """Post a job that makes rows, and show how far it is until it has ended."""
    job = _ended_well(post, said)
    if job is None:
        return
    result = job.result or {}
    left_out = f", {result['rejected']:,} left out" if result.get("rejected") else ""
    stored = words.count(result.get("rows", 0), "row")
    st.success(f"{stored}{left_out}. The next check scores the champion on them; then they are history.")
    if job.kind == "generate":
        _sample(job)


def _ended_well(post: Callable[[], answers.Job], said: str) -> answers.Job | None:
    """A job that is posted and followed to its end; None where it has no result, which is said."""
    job = followed(post, {"queued": "Waiting in the queue…", "running": said})
    if job is None or job.succeeded:
        return job
    st.error(words.unmarked(job.failure))
    return None


def _sample(job: answers.Job) -> None:
    with st.spinner("Fetching a sample…"), asking():
        piece = next(iter(client().result_chunks(job.id, "rows.csv")), b"")
    rows = pd.read_csv(io.BytesIO(piece[: piece.rfind(b"\n")]), nrows=DRAWN)
    if len(rows) and {"x1", "x2"} <= set(rows.columns):
        st.altair_chart(charts.scatter(rows, "x1", "x2", rows.columns[-1]), alt="The first rows as they were generated")
