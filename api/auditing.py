"""The audit log: who asked for which change, when. Predictions and labels are traffic, and no part of it."""

from __future__ import annotations

import logging

from flask import Response, request

from api.asking import page_of_query
from api.auth import caller
from api.envelope import current_request_id
from api.house import house
from api.routes import PAGE, ListOf, Routes
from api.views import ActView, act_view, answer_page
from storage import audit
from storage.audit import Act
from storage.ids import new_id

log = logging.getLogger("api.audit")
routes = Routes("audit")


def act(action: str, subject: str, detail: str = "") -> Act:
    """A change by whoever makes this request, to be added in the change's own transaction; the log tells of it too."""
    who, now = caller(), house().clock()
    address = request.remote_addr or ""
    log.info("%s %s%s by token '%s' (%s)", action, subject, f" ({detail})" if detail else "", who.name, who.role)
    return Act(new_id(now), now, who.token_id, who.name, who.role, action, subject, detail, address, current_request_id())


@routes.on("GET", "/audit", "admin", "Who changed what, newest first.", answers={200: ListOf("audit", ActView)}, query=PAGE)
def list_acts() -> Response:
    limit, cursor = page_of_query()
    with house().database.read() as tx:
        return answer_page("audit", audit.listed(tx, limit, cursor), act_view)
