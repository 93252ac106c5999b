"""Notify jobs: make the message that people see agree with the incident as it stands, in each channel."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from loguru import logger
from sqlalchemy import Connection

from notify.discord import DiscordNotifier
from notify.message import Kind, Message
from notify.other import OtherNotifier
from notify.port import Notifier, NotifyLater, NotifyNever
from notify.recording import LogNotifier
from settings import Settings
from storage import incidents, jobs, models
from storage.incidents import Incident
from storage.jobs import Job
from workers import course
from workers.lease import Claim
from workers.room import Room
from workers.run import Done, JobFailed, TryLater

TIMES = 8  # tries before a notification is given up; the incident stays on the dashboard
LONGEST_S = 300.0
PICTURED = ("drift", "training", "rollback", "ok")  # the incidents, by their key's first word, that a picture says more of


def make_notifier(settings: Settings) -> Notifier:
    """The main channel: Discord where a webhook is set, else the log."""
    if settings.discord_webhook_url is None:
        return LogNotifier(logger.info)
    return DiscordNotifier(settings.discord_webhook_url.get_secret_value())


def other_addresses(settings: Settings) -> list[str]:
    """The further channels, in the order of APPRISE_URLS."""
    return settings.apprise_urls.get_secret_value().split() if settings.apprise_urls else []


def work(room: Room, job: Job, _: Claim) -> Done:
    """Send what is asked for.

    The payload holds `incident_id`, or `test` with the name of who asked; `other` is the number of one further channel,
    without it the job tells the main one, and has a job made for each of the others.
    """
    asked: dict[str, Any] = msgspec.json.decode(job.payload or b"{}")
    if "test" in asked:
        return _test(room, asked["test"])
    with room.db.read() as tx:
        incident = incidents.get(tx, asked["incident_id"])
    if incident is None:
        raise JobFailed("no_incident", f"There is no incident {asked['incident_id']}.")
    if "other" in asked:
        if incident.revision > asked.get("revision", incident.revision):
            return Done({"incident_id": incident.id, "told": "later"})  # with the newest move, which has a job of its own
        message_id = str(incident.id) if incident.revision > 1 else None
        _say(room, job, _other(room, asked["other"]), message_of(room, incident), message_id)
        return Done({"incident_id": incident.id, "told": "sent", "channel": asked["other"]})
    _ask_others(room, job, incident)  # first: the main channel may be dead
    if incident.sent_revision >= incident.revision:
        return Done({"incident_id": incident.id, "told": "already"})
    message_id = _say(room, job, make_notifier(room.settings), message_of(room, incident), incident.message_id)
    # Noted at once, in a transaction of its own: a crash before the finish must not tell people twice.
    room.db.run(lambda tx: incidents.sent(tx, incident.id, message_id, incident.revision))
    told = "edited" if incident.message_id else "sent"
    return Done({"incident_id": incident.id, "told": told})


def _ask_others(room: Room, job: Job, incident: Incident) -> None:
    """Have a job made for each further channel, once for each move of the incident, however often this one is tried."""
    new = [
        room.new_job(
            "notify",
            job.model,
            msgspec.json.encode({"incident_id": incident.id, "other": number, "revision": incident.revision}),
            lane=f"notify:{incident.id}:{number}",
            dedupe_key=f"notify:{incident.id}:{incident.revision}:{number}",
        )
        for number in range(len(other_addresses(room.settings)))
    ]
    if new:
        room.ring(room.db.run(lambda tx: jobs.add(tx, new)))


def _other(room: Room, number: int) -> Notifier:
    addresses = other_addresses(room.settings)
    if number >= len(addresses):
        raise JobFailed("notify_refused", f"APPRISE_URLS has no address number {number + 1} any more.")
    try:
        return OtherNotifier(addresses[number])
    except NotifyNever as never:
        raise JobFailed("notify_refused", f"{never.reason}.") from None


def _test(room: Room, who: str) -> Done:
    lines = (f"'{who}' asks whether notifications arrive. This one did.",)
    message = Message("info", "A test", lines, (), None, room.clock(), links(room.settings))
    channels = [make_notifier(room.settings), *(_other(room, n) for n in range(len(other_addresses(room.settings))))]
    for channel in channels:
        try:
            channel.send(message)
        except (NotifyLater, NotifyNever) as fault:  # who tests wants to know now
            raise JobFailed("notify_refused", f"{fault.reason}.") from None
    return Done({"told": "sent", "channels": [type(channel).__name__.removesuffix("Notifier").lower() for channel in channels]})


def _say(room: Room, job: Job, notifier: Notifier, message: Message, message_id: str | None) -> str | None:
    try:
        return notifier.edit(message_id, message) if message_id else notifier.send(message)
    except NotifyNever as never:
        raise JobFailed("notify_refused", f"{never.reason}.") from None
    except NotifyLater as later:
        wait = max(later.retry_after, room.settings.retry_delay_seconds * 2**job.failures)
        raise TryLater(later.reason, min(wait, LONGEST_S), TIMES) from None


def message_of(room: Room, incident: Incident) -> Message:
    """An incident as people read it."""
    fields = (("state", incident.state),) if incident.state != "told" else ()
    kind = cast(Kind, incident.kind)
    with room.db.read() as tx:
        image = _picture(room, tx, incident)
    lines, at = tuple(incident.lines), incident.updated_at
    return Message(kind, incident.title, lines, fields, incident.model, at, links(room.settings), image)


def _picture(room: Room, tx: Connection, incident: Incident) -> bytes | None:
    if incident.model is None or incident.key.partition(":")[0] not in PICTURED or room.settings.discord_webhook_url is None:
        return None
    model = models.get(tx, incident.model)
    return None if model is None else course.picture(tx, model.name, model.problem, room.clock())


def links(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Where to look further."""
    return (("dashboard", settings.dashboard_page), ("Flower", settings.flower_page), ("API", f"{settings.base_url}/docs"))
