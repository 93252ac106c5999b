"""Notify jobs: make the message that people see agree with the incident as it stands."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from loguru import logger

from notify.discord import DiscordNotifier
from notify.message import Kind, Message
from notify.port import Notifier, NotifyLater, NotifyNever
from notify.recording import LogNotifier
from settings import Settings
from storage import incidents
from storage.incidents import Incident
from storage.jobs import Job
from workers.lease import Claim
from workers.room import Room
from workers.run import Done, JobFailed, TryLater

TIMES = 8  # tries before a notification is given up; the incident stays on the dashboard
LONGEST_S = 300.0


def make_notifier(settings: Settings) -> Notifier:
    """Discord where a webhook is set, else the log."""
    if settings.discord_webhook_url is None:
        return LogNotifier(logger.info)
    return DiscordNotifier(settings.discord_webhook_url.get_secret_value())


def work(room: Room, job: Job, _: Claim) -> Done:
    """Send the incident's message, or edit the one already sent; nothing if an earlier job has told this much."""
    asked: dict[str, Any] = msgspec.json.decode(job.payload or b"{}")
    with room.db.read() as tx:
        incident = incidents.get(tx, asked["incident_id"])
    if incident is None:
        raise JobFailed("no_incident", f"There is no incident {asked['incident_id']}.")
    if incident.sent_revision >= incident.revision:
        return Done({"incident_id": incident.id, "told": "already"})
    message_id = _tell(room, job, incident)
    # Noted at once, in a transaction of its own: a crash before the finish must not tell people twice.
    room.db.run(lambda tx: incidents.sent(tx, incident.id, message_id, incident.revision))
    return Done({"incident_id": incident.id, "told": "edited" if incident.message_id else "sent"})


def _tell(room: Room, job: Job, incident: Incident) -> str | None:
    message = message_of(room.settings, incident)
    notifier = make_notifier(room.settings)
    try:
        return notifier.edit(incident.message_id, message) if incident.message_id else notifier.send(message)
    except NotifyNever as never:
        raise JobFailed("notify_refused", f"{never.reason}.") from None
    except NotifyLater as later:
        wait = max(later.retry_after, room.settings.retry_delay_seconds * 2**job.failures)
        raise TryLater(later.reason, min(wait, LONGEST_S), TIMES) from None


def message_of(settings: Settings, incident: Incident) -> Message:
    """An incident as people read it."""
    fields = (("state", incident.state),) if incident.state != "told" else ()
    link = f"{settings.base_url}/docs"
    kind = cast(Kind, incident.kind)
    return Message(kind, incident.title, tuple(incident.lines), fields, incident.model, incident.updated_at, link)
