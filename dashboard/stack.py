"""The stack as the pages ask it: one client for all sessions, and a sentence in place of a page where it does not answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import streamlit as st

from continual import ApiError, Client
from continual.answers import Job
from settings import Settings, read

PATIENCE_S = 2.0  # a page says that it waits rather than wait for long
ANSWER_S = 20.0


@st.cache_resource(show_spinner=False)
def settings() -> Settings:
    """The dashboard's own settings."""
    return read()


@st.cache_resource(show_spinner=False)
def client() -> Client:
    """The client, with API_KEY or the key that the API keeps in DATA_DIR."""
    chosen = settings()
    key = chosen.api_key.get_secret_value() if chosen.api_key else _kept(chosen)
    return Client(chosen.base_url, key, timeout_s=ANSWER_S, patience_s=PATIENCE_S)


def _kept(chosen: Settings) -> str:
    file = chosen.data_dir / "api_key"
    return file.read_text().strip() if file.exists() else ""


@contextmanager
def asking() -> Iterator[None]:
    """What the API refuses or does not answer inside becomes a sentence on the page, and the rest of the page waits."""
    try:
        yield
    except ApiError as error:
        if error.status in (0, 401):  # nobody there, or a key that was made afresh: begin anew at the next look
            client.clear()
        say(error)
        st.stop()


def say(error: ApiError) -> None:
    """A refusal as a person reads it."""
    hints = {0: " Is the stack up? This page asks again by itself.", 401: " The dashboard's API_KEY is not the stack's."}
    st.error(f"{error}{hints.get(error.status, '')}", icon=":material/error:")


def asked_first(key: str, yes: str, no: str, act: Callable[[], str], icon: str) -> None:
    """The two buttons of a question: do it and say what came of it, or leave it.

    Args:
        act: does it; returns the sentence.
    """
    with st.container(horizontal=True):
        if st.button(yes, type="primary", key=f"{key}_yes"):
            try:
                said = act()
            except ApiError as error:
                say(error)
                return
            st.toast(said, icon=icon)
            st.rerun()
        if st.button(no, key=f"{key}_no"):
            st.rerun()


def followed(post: Callable[[], Job], said: Mapping[str, str]) -> Job | None:
    """Post a job and show how far it is until it has ended; None if it was refused, which is said then.

    Args:
        said: what a state is called while it lasts.
    """
    bar = st.progress(0.0, "Sending…")
    try:
        for job in client().events(post().id):
            bar.progress(job.progress or 0.0, said.get(job.status, job.status))
    except ApiError as error:
        say(error)
        return None
    finally:
        bar.empty()
    return job
