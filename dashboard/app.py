"""The script that Streamlit runs for each reader: which pages there are, and the session's end."""

from __future__ import annotations

import time
from pathlib import Path

import streamlit as st

from dashboard import look
from dashboard.door import COOKIE, LOGIN, LOGOUT
from dashboard.views import data, jobs, model, now, settings, trial

ICON = Path(__file__).parent / "static" / "icon.svg"  # one by name would come from another host
PAGES = (
    (now, "Now", "now", ":material/monitor_heart:"),
    (model, "Model", "model", ":material/show_chart:"),
    (jobs, "Jobs", "jobs", ":material/list_alt:"),
    (trial, "Try it", "try", ":material/experiment:"),
    (data, "Data", "data", ":material/table_chart:"),
    (settings, "Settings", "settings", ":material/tune:"),
)


def main() -> None:
    """One run of the script."""
    st.set_page_config(page_title="Continual ML", page_icon=str(ICON), layout="wide")
    look.dress()
    pages = [st.Page(view.show, title=title, url_path=path, icon=icon, default=view is now) for view, title, path, icon in PAGES]
    st.session_state["model_page"] = pages[1]
    chosen = st.navigation(pages, position="top")
    if _over():
        st.warning("Your session has ended.", icon=":material/lock_clock:")
        st.link_button("Log in again", LOGIN, type="primary")
        st.stop()
    st.title(chosen.title, anchor=False)
    chosen.run()
    st.divider()
    st.html(f'<p class="foot">Continual ML · <a href="{LOGOUT}" target="_self">Log out</a></p>')


def _over() -> bool:
    """Whether the session's end, as the door told it to the browser, has passed; the door holds to it in any case."""
    end = st.context.cookies.get(COOKIE, "").partition(".")[2]
    return end.isdecimal() and time.time() >= int(end)


main()
