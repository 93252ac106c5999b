"""A challenger on trial beside the champion: how it stands, when it ends at the latest, and the way to end it now."""

from __future__ import annotations

import streamlit as st

from continual import ApiError, answers
from dashboard import look, words
from dashboard.stack import asked_first, client, say

EVERY_S = 10


@st.fragment(run_every=EVERY_S)
def show(model: answers.Model) -> None:
    """Draw the section; nothing where there is no trial."""
    try:
        trial = client().status(model.name).trial
    except ApiError as error:
        say(error)
        return
    if trial is None:
        return
    look.heading("On trial")
    st.html(f'<p class="chips">{words.chip("info", f"v{trial.version}")}<span>{_does(trial)}</span></p>')
    look.figures(_standing(trial))
    st.caption(
        "It is promoted once the evidence that it is better reaches the limit, and rejected at the same limit of the other."
    )
    if st.button("Stop the trial…", icon=":material/block:", key="stop_trial"):
        _stop(model.name, trial.version)


def line(trial: answers.Trial) -> str:
    """The trial in one line of HTML."""
    rows, most = trial.figures.get("rows", 0), trial.figures.get("rows_limit", 0)
    return f"{words.chip('info', f'v{trial.version} on trial')}<span>{trial.mode}, {rows:,} of {most:,} labelled rows</span>"


def _does(trial: answers.Trial) -> str:
    if trial.mode == "canary":
        return f"canary: it answers {trial.share:.0%} of the jobs"
    return "shadow: it answers what the champion answers, seen by no client"


def _standing(trial: answers.Trial) -> list[look.Figure]:
    known = trial.figures
    limit = f"of {words.figure(known.get('limit'), 0)}"
    shown = [
        ("compared on", words.count(known.get("rows", 0), "labelled row"), f"of {known.get('rows_limit', 0):,} at most"),
        ("evidence that it is better", words.figure(known.get("better"), 2), limit),
        ("evidence that it is worse", words.figure(known.get("worse"), 2), limit),
        ("ends by", look.moment(trial.until), f"began {words.local(trial.since, look.zone())}"),
    ]
    if trial.answered:
        alike = f"{trial.agreed / trial.answered:.1%}"
        shown.insert(1, ("says what the champion says", alike, f"of {words.count(trial.answered, 'row')}"))
    return shown


@st.dialog("Stop the trial?")
def _stop(name: str, version: str) -> None:
    st.write(
        f"v{words.unmarked(version)} of '{words.unmarked(name)}' is rejected, and the champion answers everything again. "
        "The decision is recorded."
    )

    def act() -> str:
        client().stop_trial(name)
        return f"v{words.unmarked(version)} is rejected."

    asked_first("stop_trial", "Stop it", "Let it go on", act, ":material/block:")
