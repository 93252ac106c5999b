"""`python -m dashboard`: the pages on DASHBOARD_PORT, behind their password, until SIGTERM."""

from __future__ import annotations

import importlib
import os
import secrets
import sys
import time
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from dashboard.door import Door
from dashboard.lockout import Lockout, Sessions
from settings import LOOPBACK, Settings, load

PASSWORD_FILE = "dashboard_password"  # noqa: S105 - the file's name
SCRIPT = Path(__file__).with_name("app.py")
THEME = {"light.primaryColor": "#1f6fa8", "dark.primaryColor": "#5aa9e0", "baseRadius": "0.5rem"}


def main() -> int:
    """Serve. Returns the exit status where it may not even begin."""
    os.umask(0o077)
    settings = load()
    if settings.dashboard_host not in LOOPBACK and settings.dashboard_password is None:
        wanted = "expected a password of your own (`make env` writes one), or DASHBOARD_HOST=127.0.0.1."
        print(f"DASHBOARD_PASSWORD is unset while DASHBOARD_HOST={settings.dashboard_host} is open: {wanted}", file=sys.stderr)
        return 2
    importlib.import_module("dashboard.views.now")  # with all that charts need: the first visitor would wait a second for it
    sessions, lockout = Sessions(password_of(settings), time.time), Lockout(time.monotonic)
    doors = Middleware(Door, sessions=sessions, lockout=lockout, proxy_hops=settings.proxy_hops)
    st.App(SCRIPT, middleware=[doors]).run(config=options(settings))
    return 0


def password_of(settings: Settings) -> str:
    """DASHBOARD_PASSWORD; where it is unset, one that is made at the first start and kept for its owner alone."""
    if settings.dashboard_password is not None:
        return settings.dashboard_password.get_secret_value()
    file = settings.data_dir / PASSWORD_FILE
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(secrets.token_urlsafe(12) + "\n")
        print(f"DASHBOARD_PASSWORD is unset: made one, kept in {file}", flush=True)
    password = file.read_text().strip()
    if not password:
        sys.exit(f"{file}: empty, expected the dashboard's password. Delete the file to have a new one made.")
    return password


def options(settings: Settings) -> dict[str, object]:
    """What Streamlit is told: nothing is watched, counted, sent or offered that is not ours."""
    return {
        "server.address": settings.dashboard_host,
        "server.port": settings.dashboard_port,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        "server.maxUploadSize": settings.max_body_mb,
        "server.disconnectedSessionTTL": 60,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "client.showSidebarNavigation": False,
        "logger.level": "warning",
        **{f"theme.{name}": value for name, value in THEME.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
