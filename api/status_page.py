"""GET /status: how things are, as a page for anyone. No login, no script, nothing that only a token may see."""

from __future__ import annotations

import time
from collections.abc import Iterable
from html import escape

from flask import Response

from api import health
from api.docs import POLICY
from api.health import Component
from api.house import house
from api.routes import Media, Routes
from api.status import StatusView, status_of
from storage import models

REFRESH_S = 30
MOST = 100  # models on the page
SAYS = {
    "ok": "✓ up",
    "down": "✗ down",
    "healthy": "✓ healthy",
    "drifting": "▲ drifting",
    "retraining": "↻ retraining",
    "no_model": "… no model yet",
}
routes = Routes("status page")


@routes.on("GET", "/status", None, "How the parts and the models are, as a page.", answers={200: Media(("text/html",))})
def get_status() -> Response:
    parts = house()
    found = health.components(parts.database, parts.pulse, parts.clock())
    known = [] if found["database"].status == "down" else _models()
    page = Response(_page(found, known, parts.clock()), content_type="text/html; charset=utf-8")
    page.headers["Content-Security-Policy"] = POLICY
    return page


def _models() -> list[StatusView]:
    with house().database.read() as tx:
        known = models.every(tx)[:MOST]
    return [status_of(model) for model in known]


def _page(found: dict[str, Component], known: Iterable[StatusView], now: float) -> str:
    fine = all(part.status == "ok" for part in found.values())
    said = (
        "Everything works." if fine else f"{', '.join(name for name, part in found.items() if part.status != 'ok')}: not working."
    )
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))
    rows = "".join(_row(name, part.status, part.detail) for name, part in found.items())
    about = "".join(_row(each.model, each.state, _about(each)) for each in known)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Status</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><meta http-equiv="refresh" content="{REFRESH_S}">'
        f'<link rel="stylesheet" href="/docs/docs.css"></head><body class="status"><main>'
        f'<h1>Continual ML</h1><p class="{"ok" if fine else "down"}" role="status">{escape(said)}</p>'
        f"<h2>Parts</h2><table>{rows}</table><h2>Models</h2><table>{about}</table>"
        f"<p>{at} UTC; this page looks again every {REFRESH_S} s.</p></main></body></html>"
    )


def _row(name: str, state: str, detail: str) -> str:
    kind = "ok" if state in ("ok", "healthy") else "down" if state == "down" else "other"
    return f'<tr><th scope="row">{escape(name)}</th><td class="{kind}">{SAYS[state]}</td><td>{escape(detail)}</td></tr>'


def _about(status: StatusView) -> str:
    if status.version is None:
        return "waits for its first training"
    shown = "performance not known yet" if status.performance is None else f"performance {status.performance:.3f}"
    again = status.automation.next_check_at[11:19]
    return f"version {status.version}, {shown}, threshold {status.threshold:g}, next check {again} UTC"
