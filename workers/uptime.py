"""A check that tells an uptime monitor of its end: a green light there covers beat, broker, worker and database at once."""

from __future__ import annotations

from dataclasses import replace

from loguru import logger

from notify.uptime import NotTold, push
from storage.jobs import Job
from workers import check
from workers.lease import Claim
from workers.room import Room
from workers.run import Done


def work(room: Room, job: Job, claim: Claim) -> Done:
    """Check one model (see `check`)."""
    return replace(check.work(room, job, claim), after=lambda: _push(room))


def _push(room: Room) -> None:
    address = room.settings.kuma_push_url
    if address is None:
        return
    try:
        push(address.get_secret_value())
    except NotTold as fault:
        logger.warning("the uptime monitor of KUMA_PUSH_URL did not take the push: {}", fault)
