"""Which model a page is about: remembered in the address, so that a link leads to it."""

from __future__ import annotations

import streamlit as st

from continual import answers, every
from dashboard.stack import asking, client


def models() -> dict[str, answers.Model]:
    """All models by name."""
    with asking():
        return {each.name: each for each in sorted(every(client().models), key=lambda each: each.name)}


def model(known: dict[str, answers.Model]) -> answers.Model:
    """The model that the reader chose, on this page or an earlier one; the built-in one at first."""
    names = list(known)
    before = st.query_params.get("model") or st.session_state.get("chosen_model", "default")
    at = names.index(before) if before in names else 0
    chosen = names[0] if len(names) == 1 else st.selectbox("Model", names, index=at, width=280, label_visibility="collapsed")
    st.session_state["chosen_model"] = chosen
    return known[chosen]
