"""What people are told: one incident is one message, in each channel, with its picture; quiet days are summed up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from pydantic import SecretStr

from storage import incidents, jobs
from tests.notify.webhook import Answer, Webhook, webhook
from tests.workers.conftest import House
from workers import tasks
from workers.incidents import tell
from workers.watch import REST_S

PNG = b"\x89PNG"


@pytest.fixture(name="discord")
def _discord() -> Iterator[Webhook]:
    with webhook() as played:
        yield played


def with_channels(house: House, discord: Webhook | None, others: str = "") -> None:
    """Set the webhook, and further addresses, as the settings of a running worker would be."""
    urls = {"discord_webhook_url": discord and SecretStr(discord.url), "apprise_urls": SecretStr(others) if others else None}
    house.room = replace(house.room, settings=house.settings.model_copy(update=urls))


def with_a_course(house: House) -> None:
    """A champion, and checks of labelled rows."""
    for _ in range(3):
        house.tick()
    rng = np.random.default_rng(3)
    for _ in range(2):
        rows = rng.standard_normal((150, 2))
        house.label(house.predict(rows), rows[:, 0] > 0)
        house.tick()


def told(house: House, key: str, line: str, **more: float) -> None:
    with house.db.begin() as tx:
        news = tell(house.room, tx, key, "drift", "opened", "Drift in default", [line], house.clock(), "default", **more)
        jobs.add(tx, [news])
    house.settle()


def test_a_drift_s_message_carries_the_picture_of_its_course(house: House, discord: Webhook) -> None:
    """The model has a champion and checks: Discord gets one message, its edit, and a PNG with each."""
    with_a_course(house)
    with_channels(house, discord)
    told(house, "drift:default", "alarm")
    told(house, "drift:default", "retraining")
    first, second = discord.seen
    assert (first.method, second.method) == ("POST", "PATCH")
    assert first.parts["files[0]"].startswith(PNG)
    assert "alarm" in second.payload["embeds"][0]["description"]


def test_every_channel_hears_each_move_once(house: House, discord: Webhook) -> None:
    """Discord and two services; one of them is down at first: it is asked again, and nobody hears anything twice."""
    with webhook() as first, webhook() as second:
        second.answers = [Answer(503)]
        with_channels(house, discord, " ".join(each.url.replace("http", "json", 1) for each in (first, second)))
        told(house, "drift:default", "alarm")
        with house.db.read() as tx:
            late = jobs.listed(tx, "notify", "queued", None, 10, None).entries
        assert [job.failures for job in late] == [1]
    assert (len(discord.seen), len(first.seen), len(second.seen)) == (1, 1, 1)


def test_a_main_channel_that_is_dead_keeps_no_other_from_hearing(house: House, discord: Webhook) -> None:
    """The webhook was deleted: the job fails, the other channel hears of each move once all the same."""
    discord.answers = [Answer(404, {"code": 10015})] * 2
    with webhook() as other:
        with_channels(house, discord, other.url.replace("http", "json", 1))
        told(house, "drift:default", "alarm")
        told(house, "drift:default", "retraining")
    assert (len(discord.seen), len(other.seen)) == (2, 2)


def notified(house: House, **asked: object) -> Any:
    """The result of a notify job, or its error where it failed."""
    job_id = house.post("notify", "default", msgspec.json.encode(asked))
    house.settle()
    job = house.job(job_id)
    return msgspec.json.decode(job.result or job.error or "null")


def test_what_was_told_is_not_told_again_and_a_move_is_an_edit(house: House, discord: Webhook) -> None:
    """As where a worker died between Discord's answer and the end of its job."""
    with_channels(house, discord)
    told(house, "drift:default", "alarm")
    with house.db.read() as tx:
        incident = incidents.find_open(tx, "drift:default")
        (first,) = jobs.listed(tx, "notify", None, None, 10, None).entries
    assert incident is not None and house.result(first.id)["told"] == "sent"
    assert notified(house, incident_id=incident.id)["told"] == "already"
    assert len(discord.seen) == 1
    told(house, "drift:default", "retraining")
    with house.db.read() as tx:
        newest = jobs.listed(tx, "notify", None, None, 1, None).entries[0]
    assert house.result(newest.id)["told"] == "edited"
    assert [each.method for each in discord.seen] == ["POST", "PATCH"]


def test_a_channel_that_was_down_hears_of_the_newest_move_alone(house: House, discord: Webhook) -> None:
    """What it missed stands in that message, and is not sent after it."""
    with webhook() as other:
        other.answers = [Answer(503)]
        with_channels(house, discord, other.url.replace("http", "json", 1))
        told(house, "drift:default", "alarm")
        told(house, "drift:default", "mended")
        with house.db.read() as tx:
            (late,) = jobs.listed(tx, "notify", "queued", None, 10, None).entries
        tasks.carry(house.room, "notify", [late.id], "again")
        assert house.result(late.id)["told"] == "later"
    assert [(b"alarm" in each.body, b"mended" in each.body) for each in other.seen] == [(True, False), (True, True)]


def test_an_address_or_an_incident_that_is_gone_is_told_in_the_jobs_error(house: House, discord: Webhook) -> None:
    """APPRISE_URLS was made shorter, or the incident pruned, since the job was made."""
    with webhook() as other:
        with_channels(house, discord, other.url.replace("http", "json", 1))
        told(house, "drift:default", "alarm")
        with house.db.read() as tx:
            incident = incidents.find_open(tx, "drift:default")
        assert incident is not None
        gone = notified(house, incident_id=incident.id, other=1)
        assert (gone["type"], "no address number 2" in gone["message"]) == ("notify_refused", True)
        assert notified(house, incident_id="nothing")["type"] == "no_incident"


def test_a_message_says_how_its_incident_stands_and_carries_a_picture_where_that_says_more(
    house: House, discord: Webhook
) -> None:
    """A drift has both; a component of the stack has no course, and what was only told has no state."""
    with_a_course(house)
    with_channels(house, discord)
    now, stack = house.clock(), ("failure", "opened", "beat is down", ["no sign of life"])
    with house.db.begin() as tx:
        jobs.add(tx, [tell(house.room, tx, "component:beat", *stack, now)])  # type: ignore[arg-type]
        jobs.add(tx, [tell(house.room, tx, "dead:j", "failure", "told", "A job of default is dead", ["j"], now, "default")])
        jobs.add(tx, [tell(house.room, tx, "drift:default", "drift", "retraining", "Drift", ["alarm"], now, "default")])
    house.settle()
    found = {each.payload["embeds"][0]["title"]: each for each in discord.seen}
    states = {
        title: [field["value"] for field in each.payload["embeds"][0]["fields"] if field["name"] == "state"]
        for title, each in found.items()
    }
    assert states == {"beat is down": ["opened"], "A job of default is dead": [], "Drift": ["retraining"]}
    assert {title: "files[0]" in each.parts for title, each in found.items() if "multipart" in each.content_type} == {
        "Drift": True
    }


def test_a_channel_that_edits_nothing_misses_no_line_of_what_moved_on_meanwhile(house: House, discord: Webhook) -> None:
    """Two moves before the first is told: one message with both lines, and the third move is another one."""
    with webhook() as other:
        with_channels(house, discord, other.url.replace("http", "json", 1))
        with house.db.begin() as tx:
            for line in ("alarm", "retrained"):
                told_of = ("drift:default", "drift", "retraining", "Drift in default", [line], house.clock(), "default")
                jobs.add(tx, [tell(house.room, tx, *told_of)])  # type: ignore[arg-type]
        house.settle()
        assert [(b"alarm" in each.body, b"retrained" in each.body) for each in other.seen] == [(True, True)]
        told(house, "drift:default", "promoted")
        assert len(other.seen) == 2 and b"promoted" in other.seen[1].body


def test_a_test_message_says_at_once_when_a_channel_is_dead(house: House, discord: Webhook) -> None:
    """It is sent to the main channel; one that refuses makes the job fail with the reason, without another try."""
    with_channels(house, discord)
    job = house.post("notify", "-", msgspec.json.encode({"test": "anna"}))
    house.settle()
    assert house.result(job) == {"told": "sent", "channels": ["discord"]}
    discord.answers = [Answer(404, {"code": 10015})]
    dead = house.post("notify", "-", msgspec.json.encode({"test": "anna"}))
    house.settle()
    error = msgspec.json.decode(house.job(dead).error or "")
    assert (house.job(dead).status, error["type"]) == ("failed", "notify_refused") and "webhook is gone" in error["message"]


def test_a_component_that_comes_and_goes_is_one_message(house: House) -> None:
    """Down, back, down again within a quarter of an hour: the same incident opens again; later it is a new one."""

    def moves(state: str, after_s: float) -> str:
        house.clock.now += after_s
        with house.db.begin() as tx:
            given = ("component:broker", None, "failure", state, "broker", ["a line"], house.clock(), REST_S)
            return incidents.tell(tx, *given)  # type: ignore[arg-type]

    first = moves("opened", 0)
    assert [moves("resolved", 20), moves("opened", 60), moves("resolved", 20)] == [first] * 3
    assert moves("opened", REST_S + 1) != first


def test_quiet_days_are_summed_up_once_a_day(house: House) -> None:
    """Two days of checks with labels: a message on each day, the second with what a day's checks have seen."""
    for _ in range(2):
        house.tick()
    rng = np.random.default_rng(3)
    for _ in range(6):
        rows = rng.standard_normal((100, 2))
        house.label(house.predict(rows), 0.5 * rows[:, 0] + 0.3 * rows[:, 1] > 0)
        house.tick(6 * 3600.0)
    with house.db.read() as tx:
        digests = [each for each in incidents.listed(tx, 100, None).entries[::-1] if each.key.startswith("ok:default:")]
    assert len(digests) >= 2
    assert all(time.strftime("%Y-%m-%d", time.gmtime(each.opened_at)) in each.key for each in digests)
    assert "checks in 24 h saw" in digests[1].lines[-1] and "no alarms" in digests[1].lines[-1]


def test_a_training_that_fails_is_told_in_the_drift_s_own_message(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The incident of the drift stays open and says why; no second message appears."""
    house.tick()
    house.tick()

    def unable(*_: object) -> None:
        raise ValueError("these rows cannot be learnt")

    monkeypatch.setattr("workers.train.train", unable)
    told(house, "drift:default", "alarm")
    asked = {"reason": "drift", "change_position": None, "from_version": house.model().champion, "seed": 1}
    house.post("train", "default", msgspec.json.encode(asked))
    house.settle()
    with house.db.read() as tx:
        drift = incidents.find_open(tx, "drift:default")
    assert drift is not None and drift.state == "opened" and "training failed" in drift.lines[-1]
