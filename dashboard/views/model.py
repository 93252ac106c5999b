"""Model: what it was over time, why it changed, what its inputs look like, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from continual import ApiError, answers
from dashboard import charts, look, words
from dashboard.stack import asked_first, asking, client, say
from dashboard.views import challenger, choosing

EVERY_S = 10
SPANS = {"1 h": 1.0, "24 h": 24.0, "7 days": 168.0, "90 days": 2160.0}
MOST_FEATURES = 12  # with bars at once; those that moved most come first


def show() -> None:
    """Draw the page."""
    model = choosing.model(choosing.models())
    _over_time(model)
    challenger.show(model)
    _duel(model)
    _inputs(model)
    _decisions(model)
    _versions(model)


@st.fragment(run_every=EVERY_S)
def _over_time(model: answers.Model) -> None:
    span = st.segmented_control("Time shown", list(SPANS), default="24 h", required=True, key="span")
    try:
        timeline, status = client().timeline(model.name, hours=SPANS[span or "24 h"]), client().status(model.name)
        newest = client().checks(model.name, limit=1).entries
    except ApiError as error:
        say(error)
        return
    state = words.chip(words.KIND_OF[status.state], status.state.replace("_", " "))
    serving = f"<b>v{words.plain(status.version)}</b> serves" if status.version else "no version serves yet"
    st.html(f'<p class="chips">{state}<span>{serving}</span><span>last check {look.moment(status.last_check_at)}</span></p>')
    if not timeline.points:
        look.empty(f"No check in the last {span}. Each check adds a point; beat asks for one every interval.")
        return
    st.altair_chart(charts.life(timeline, look.zone()), alt=f"{timeline.metric} of {model.name} over the last {span}")
    look.legend()
    st.caption("Solid: over the newest 2,000 labelled rows of each version. Dotted: over its newest 200.")
    look.heading("Evidence against the champion")
    st.altair_chart(charts.evidence(timeline, look.zone()), alt="The detector's evidence against its limit, logarithmic")
    st.caption("An alarm is raised where the evidence reaches the limit (dashed): by chance at most once in so many rows.")
    if newest and (tested := newest[0].everything.get("probation")):
        st.caption(_probation(tested))


def _probation(tested: Mapping[str, Any]) -> str:
    """How the champion stands beside the version that it replaced."""
    proof = (
        f"evidence that it was better is {words.figure(tested['statistic'], 2)}, and at {tested['limit']:,.0f} it serves again"
    )
    return f"On probation: v{tested['against']} is asked for the same {words.count(tested['rows'], 'labelled row')}; {proof}."


def _duel(model: answers.Model) -> None:
    """The last attempt's challengers beside the champion that they were held against."""
    look.heading("Champion and challenger")
    with asking():
        decided = client().decisions(model.name, limit=30)
    last = next((each for each in decided if each.evidence.get("candidates")), None)
    if last is None:
        look.empty("No challenger yet. One is trained when an alarm, grown data or a follow-up asks for it.")
        return
    evidence, metric = last.evidence, str(model.settings["metric"])
    st.html(f"<p>{look.moment(last.created_at)}: {words.plain(last.reason)}</p>")
    rows = [
        [
            words.plain(each.get("window", "")),
            f"{each.get('rows', 0):,}",
            words.figure(each.get("mean_loss")),
            words.figure(each.get("score")),
        ]
        for each in evidence["candidates"]
    ]
    look.table(["challenger", "rows learnt", "loss", metric], rows, "The challengers of the last attempt", numbers=(1, 2, 3))
    champion, best = evidence.get("champion_loss"), evidence.get("challenger_loss")
    held = evidence.get("holdout_rows", 0)
    look.figures(
        [
            ("champion's loss", words.figure(champion), f"v{last.from_version}" if last.from_version else "there was none"),
            ("best challenger's loss", words.figure(best), "less is better"),
            ("judged on", words.count(held, "row"), "that neither has seen"),
        ]
    )


def _inputs(model: answers.Model) -> None:
    look.heading("Inputs")
    with asking():
        inputs = client().inputs(model.name)
    if inputs.version is None:
        look.empty("No version serves yet: what it learns from will be compared with what it is asked.")
        return
    if inputs.checked_at is None:
        look.empty("Fewer than 500 rows were predicted since this version began to serve: they are compared from then on.")
    else:
        learnt = f"{inputs.reference_rows:,} rows that v{words.plain(inputs.version)} learnt from"
        told = "A moved feature warns; only labels can start a retraining."
        st.html(f"<p>Compared at {look.moment(inputs.checked_at)} with {learnt}. {told}</p>")
    ranked = sorted(inputs.features, key=lambda each: -(each.distance or 0.0))
    columns = st.columns(2, gap="medium")
    for n, feature in enumerate(ranked[:MOST_FEATURES]):
        with columns[n % 2]:
            _feature(feature)
    if len(ranked) > MOST_FEATURES:
        rows = [[words.plain(each.feature), *_distances(each)] for each in ranked[MOST_FEATURES:]]
        look.table(["feature", "distance", "PSI", "moved"], rows, "The other features", numbers=(1, 2))


def _distances(feature: answers.Feature) -> list[str]:
    moved = words.chip("drift", "moved") if feature.drifted else words.chip("success", "as learnt")
    return [words.figure(feature.distance, 2), words.figure(feature.psi, 2), moved if feature.test else "not compared yet"]


def _feature(feature: answers.Feature) -> None:
    distance, psi, moved = _distances(feature)
    test = {"ks": "Kolmogorov-Smirnov", "chi2": "total variation"}.get(feature.test or "", "distance")
    said = f"<span>{test} {distance}</span><span>PSI {psi}</span>" if feature.test else ""
    st.html(f'<p class="chips"><b>{words.plain(feature.feature)}</b>{moved}{said}</p>')
    if feature.reference is None:
        st.caption("This version was trained before histograms were kept: the next one will have them.")
        return
    st.altair_chart(charts.inputs(feature), alt=f"Histograms of {feature.feature}: what was learnt from, and the newest rows")


def _decisions(model: answers.Model) -> None:
    look.heading("Decisions")
    with asking():
        decided = client().decisions(model.name, limit=st.session_state.get("decisions_shown", 10))
    if not decided.entries:
        look.empty("None yet. Each training, promotion, rejection and rollback is recorded here with its reason.")
    for each in decided:
        event, name = words.ACTIONS[each.action]
        when = words.local(each.created_at, look.zone())
        with st.expander(f"{words.EVENTS[event][0]} **{name}** · {when} · {words.unmarked(each.reason)}"):
            st.caption(f"{words.utc(each.created_at)} · decision {each.id} · the figures behind it:")
            st.json(each.evidence, expanded=1)
    if decided.next_cursor and st.button("More decisions"):
        st.session_state["decisions_shown"] = min(100, len(decided) + 30)
        st.rerun()


def _versions(model: answers.Model) -> None:
    look.heading("Versions")
    with asking():
        versions = client().versions(model.name, limit=10).entries
    if not versions:
        look.empty("None yet.")
        return
    rows = [
        [
            f"v{words.plain(each.version)}",
            "".join(words.chip("success" if alias == "champion" else "info", alias) for alias in each.aliases),
            words.figure(each.metrics.get("score")),
            f"{each.metrics.get('rows', 0):,}",
            look.moment(each.created_at),
        ]
        for each in versions
    ]
    score = f"{model.settings['metric']} on its holdout"
    look.table(["version", "alias", score, "rows learnt", "made"], rows, "Versions, newest first", numbers=(2, 3))
    if st.button("Roll back…", icon=":material/undo:", disabled=model.champion is None, key="rollback"):
        _roll_back(model.name, model.champion or "")


@st.dialog("Roll back?")
def _roll_back(name: str, champion: str) -> None:
    st.write(
        f"The version that v{words.unmarked(champion)} replaced will serve '{words.unmarked(name)}' again, in every worker, "
        "within seconds. Its detector begins afresh, and labels from before now start no training. The decision is recorded."
    )

    def act() -> str:
        return f"v{client().rollback(name).version} serves {words.unmarked(name)}."

    asked_first("rollback", "Roll back", "Keep it", act, ":material/undo:")
