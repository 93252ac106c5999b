"""Settings: who may do what, whether messages arrive, and what is in effect."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import streamlit as st

from continual import ApiError, answers, every
from dashboard import look, words
from dashboard.stack import asking, client, followed, say

ROLES = {
    "viewer": "viewer: reads",
    "client": "client: also predicts and labels",
    "operator": "operator: also data and models",
    "admin": "admin: also tokens and rollback",
}
CHANNELS = {"DISCORD_WEBHOOK_URL": "Discord", "APPRISE_URLS": "the channels of APPRISE_URLS"}
ENDS = {"never": None, "in a day": 1, "in a week": 7, "in 90 days": 90, "in a year": 365}


def show() -> None:
    """Draw the page."""
    _tokens()
    _messages()
    _effective()


def _tokens() -> None:
    look.heading("Tokens")
    try:
        found = list(every(client().tokens))
    except ApiError as error:
        if error.status != 403:
            say(error)
        else:
            look.empty("The dashboard's own token is no admin's, so tokens are not for it to see.")
        return
    made: answers.NewToken | None = st.session_state.pop("made", None)
    if made is not None:
        st.success(
            f"Token '{words.unmarked(made.name)}' ({made.role}) is made. Its secret is shown this once:", icon=":material/key:"
        )
        st.code(made.token, language=None)
    if not found:
        look.empty("None besides API_KEY. Make one for each program or person, so that each can be revoked alone.")
    for token in found:
        _token(token)
    with st.form("token", clear_on_submit=True), st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name", max_chars=128, width=220)
        role = st.selectbox("Role", list(ROLES), format_func=lambda each: ROLES[each], width=280)
        end = st.selectbox("Ends", list(ENDS), width=150)
        asked = st.form_submit_button("Make a token", type="primary")
    if asked:
        _make(name.strip(), role, ENDS[end])


def _token(token: answers.Token) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        over = token.expires_at is not None and token.expires_at <= datetime.now(UTC)
        ends = "ended" if over else f"ends {look.moment(token.expires_at)}" if token.expires_at else "never ends"
        kind = "warning" if over else "info"
        st.html(
            f'<div class="chips">{words.chip(kind, token.name)}<span>{words.plain(token.role)}</span>'
            f"<span>made {look.moment(token.created_at)}</span><span>{ends}</span></div>",
            width="stretch",
        )
        if st.button("Revoke", key=f"revoke-{token.id}", help=f"Revoke {token.name}"):
            _revoke(token)


def _make(name: str, role: str, days: int | None) -> None:
    if not name:
        st.warning("Name: expected 1 to 128 characters.")
        return
    ends = None if days is None else datetime.now(UTC) + timedelta(days=days)
    try:
        st.session_state["made"] = client().make_token(name, role, ends)
    except ApiError as error:
        say(error)
        return
    st.rerun()


@st.dialog("Revoke the token?")
def _revoke(token: answers.Token) -> None:
    st.write(f"'{words.unmarked(token.name)}' ({token.role}) opens nothing from the next request on. This cannot be undone.")
    if st.button("Revoke it", type="primary"):
        with asking():
            client().revoke_token(token.id)
        st.rerun()


def _messages() -> None:
    look.heading("Messages")
    with asking():
        channels = {each.name for each in client().settings() if each.name in CHANNELS and each.value}
    where = (
        f"to {' and '.join(sorted(CHANNELS[name] for name in channels))}"
        if channels
        else "nowhere else: no DISCORD_WEBHOOK_URL is set"
    )
    st.write(f"Messages are kept on Now and go {where}.")
    if st.button("Send a test message", icon=":material/send:"):
        job = followed(client().test_notification, {"queued": "Waiting in the queue…", "running": "Sending…"})
        if job is not None and job.succeeded:
            st.success("Every channel took it.")
        elif job is not None:
            st.error(words.unmarked(job.failure))


def _effective() -> None:
    look.heading("Settings in effect")
    with asking():
        found = client().settings()
    only = st.toggle("Only those that differ from their default")
    rows = [
        [f'<span class="mono">{words.plain(each.name)}</span>', _value(each), words.plain(each.text)]
        for each in found
        if not only or each.value != each.default
    ]
    look.table(["setting", "value", "meaning"], rows, "Settings in effect")


def _value(setting: answers.Setting) -> str:
    if setting.secret:
        return "set (hidden)" if setting.value else "unset"
    shown = "unset" if setting.value in (None, "") else f'<span class="mono">{words.plain(setting.value)}</span>'
    return shown if setting.value == setting.default else f"<b>{shown}</b>"
