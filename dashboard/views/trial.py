"""Try it: one prediction from a form made of the model's schema, or a file of rows."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
import streamlit as st

from continual import ApiError, Table, answers
from dashboard import look, words
from dashboard.stack import asking, client, followed, say
from dashboard.views import choosing

WAIT_S = 20.0
SHOWN = 1_000  # rows of a result that are drawn
FORMS = ["csv", "parquet", "arrow"]
ONE, MANY = "One row", "A file of rows"


def show() -> None:
    """Draw the page."""
    model = choosing.model(choosing.models())
    how = st.segmented_control("What to predict", [ONE, MANY], default=ONE, required=True)
    if how == MANY:
        _file(model)
    else:
        _form(model)


def _form(model: answers.Model) -> None:
    features: dict[str, str] = model.schema["features"]
    kinds = _kinds(model.name)
    with st.form("one", border=True):
        columns = st.columns(2)
        row = {name: _field(columns[n % 2], name, type_, kinds.get(name)) for n, (name, type_) in enumerate(features.items())}
        asked = st.form_submit_button("Predict", type="primary")
    if asked:
        lacking = [name for name, value in row.items() if value is None and not features[name].endswith("?")]
        if lacking:
            st.warning(f"{', '.join(map(words.unmarked, lacking))}: expected a value.")
            return
        with st.spinner("Predicting…", show_time=True):
            try:
                st.session_state["tried"] = client().predict([row], model.name, wait_s=WAIT_S)
            except ApiError as error:
                say(error)
                return
    tried = st.session_state.get("tried")
    if tried is not None and tried.model == model.name:
        _predicted(tried, model)


@st.cache_data(ttl=60, show_spinner=False)
def _kinds(model: str) -> dict[str, list[str]]:
    """The categories that the champion learnt from, by feature."""
    with asking():
        found = client().inputs(model).features
    return {each.feature: each.reference["kinds"] for each in found if each.reference and "kinds" in each.reference}


def _field(place: Any, name: str, type_: str, kinds: list[str] | None) -> Any:
    """An input that fits the feature's type; None is left for what may be missing."""
    optional, base = type_.endswith("?"), type_.removesuffix("?")
    label = f"{words.unmarked(name)}{' (may be empty)' if optional else ''}"
    if base == "number":
        return place.number_input(label, value=None if optional else 0.0, step=0.1, format="%g")
    if base == "boolean":
        return {"true": True, "false": False, "empty": None}[
            place.selectbox(label, ["false", "true", *(["empty"] if optional else [])])
        ]
    if base == "category" and kinds:
        known = place.selectbox(label, kinds, index=None if optional else 0, accept_new_options=True)
        return None if known is None else str(known)
    return place.text_input(label) or None


def _predicted(job: answers.Job, model: answers.Model) -> None:
    if not job.succeeded:
        said = job.failure or f"It is {job.status} still: the job goes on, see Jobs."
        st.error(words.unmarked(said)) if job.ended else st.info(words.unmarked(said))
        return
    (said,) = job.result["predictions"]
    answer = said["label"] if "label" in said else words.figure(said["value"], 4)
    took = (job.finished_at - job.created_at).total_seconds() if job.finished_at else None
    confident = max(said["probabilities"].values()) if said.get("probabilities") else None
    look.figures(
        [
            (str(model.schema["label"]), words.plain(answer), "" if confident is None else f"confidence {confident:.0%}"),
            ("version", f"v{words.plain(job.result['version'])}", ""),
            ("took", words.seconds(took), "from accepted to answered"),
        ]
    )
    for label, share in sorted((said.get("probabilities") or {}).items(), key=lambda each: -each[1]):
        st.progress(share, f"{words.unmarked(label)}: {share:.1%}")
    _label(said["prediction_id"], model)


def _label(prediction_id: str, model: answers.Model) -> None:
    """What it really was: the labels are what the loop learns from."""
    classes = model.schema.get("classes")
    with st.form("label", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        if classes:
            truth = st.selectbox("What was it really?", classes, index=None, width=220)
        else:
            truth = st.number_input("What was it really?", value=None, format="%g", width=220)
        sent = st.form_submit_button("Send label")
    if sent and truth is not None:
        try:
            stored = client().feedback({prediction_id: truth})
        except ApiError as error:
            say(error)
            return
        st.success("Stored: the next check judges the model on it." if stored.accepted else "Known already.")


def _file(model: answers.Model) -> None:
    features = ", ".join(map(words.unmarked, model.schema["features"]))
    given = st.file_uploader(f"CSV with a header, Parquet or Arrow; columns {features}", type=FORMS)
    if given is None:
        return
    if st.button("Predict the file", type="primary"):
        table = Table(given.name, given.getvalue())
        states = {"queued": "Waiting in the queue…", "running": "Predicting…"}
        st.session_state["filed"] = followed(lambda: client().predict(table, model.name), states)
    job = st.session_state.get("filed")
    if job is not None and job.model == model.name:
        _rows(job)


def _rows(job: answers.Job) -> None:
    if not job.succeeded:
        st.error(words.unmarked(job.failure))
        faults = job.error.errors[:100] if job.error else []
        rows = [[words.plain(".".join(map(str, each["loc"]))), words.plain(each["msg"])] for each in faults]
        if rows:
            look.table(["where", "what"], rows, "Faults of the rows")
        return
    with st.spinner("Fetching the rows…"):
        data = _table(job.id)
    shown = pd.read_csv(io.BytesIO(data), nrows=SHOWN)
    total = data.count(b"\n") - 1
    more = f", of which the first {SHOWN:,} are shown" if total > SHOWN else ""
    st.write(f"{words.count(total, 'row')}{more}.")
    st.dataframe(shown, hide_index=True)
    st.download_button(
        "Download as CSV", data, f"predictions-{job.id}.csv", "text/csv", icon=":material/download:", on_click="ignore"
    )


@st.cache_data(ttl=600, max_entries=4, show_spinner=False)
def _table(job_id: str) -> bytes:
    with asking():
        return b"".join(client().result_chunks(job_id, "rows.csv"))
