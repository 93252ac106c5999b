"""A version is in every predicting worker's memory before it serves; on a real broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest
import redis

from ml.model_file import SwappedModel
from storage import champions, versions
from storage.versions import Version
from tests.workers.broker import own_broker
from tests.workers.conftest import Clock, House
from tests.workers.test_loop import PLANE
from workers.preload import CHANNEL, Preload, Preloader, everywhere
from workers.room import Room
from workers.shelf import IDLE_S, KEPT, NotAtHand, Shelf


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with own_broker() as found:
        yield found


def first_version(house: House) -> Version:
    house.tick()
    with house.db.read() as tx:
        found = versions.get(tx, "default", "1")
    assert found is not None
    return found


def on(house: House, url: str) -> Room:
    return replace(house.room, settings=house.settings.model_copy(update={"redis_url": url}))


def listening(url: str, count: int) -> None:
    broker, end = redis.Redis.from_url(url), time.monotonic() + 5
    while broker.pubsub_numsub(CHANNEL)[0][1] < count:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_every_worker_has_the_file_in_memory_when_the_trainer_goes_on(house: House, url: str) -> None:
    version = first_version(house)
    shelves = [Shelf(house.room.artifacts, house.registry) for _ in range(2)]
    preloaders = [Preloader(url, shelf.preload) for shelf in shelves]
    listening(url, 2)
    assert everywhere(on(house, url), version.artifact, version.sha256)
    house.room.artifacts.path(version.artifact).unlink()
    house.registry.down = True
    assert all(shelf.pipeline(version) is not None for shelf in shelves)  # from memory: there is no file any more
    for preloader in preloaders:
        preloader.close()


def test_junk_and_refused_files_are_not_kept_and_the_trainer_waits_no_longer_than_it_said(house: House, url: str) -> None:
    version = first_version(house)
    shelf = Shelf(house.room.artifacts, house.registry)
    preloader = Preloader(url, shelf.preload)
    listening(url, 1)
    broker = redis.Redis.from_url(url)
    for junk in (b"", b"[]", msgspec.json.encode(Preload("../../etc/passwd", "0" * 64, CHANNEL))):
        broker.publish(CHANNEL, junk)
    assert not everywhere(on(house, url), version.artifact, "0" * 64, wait_s=0.3)
    assert everywhere(on(house, url), version.artifact, version.sha256)
    with pytest.raises(SwappedModel):
        shelf.pipeline(replace(version, sha256="0" * 64))
    preloader.close()


def test_without_a_broker_the_trainer_goes_on_at_once(house: House) -> None:
    began = time.monotonic()
    assert not everywhere(house.room, "models/x.skops", "0" * 64)
    assert time.monotonic() - began < 2


def test_of_many_models_those_stay_in_memory_that_are_asked_for(house: House) -> None:
    """A group may be of any number of models, and needs all of them at once; a minute later the idle ones are let go."""
    version, clock = first_version(house), Clock(0.0)
    names = [f"m{number}" for number in range(KEPT + 8)]
    for name in names:
        house.declare(name, **PLANE)
        with house.db.begin() as tx:
            versions.add(tx, replace(version, model=name))
            champions.serve(tx, name, "1", 0)
    shelf = Shelf(house.room.artifacts, house.registry, clock)
    with house.db.read() as tx:
        for name in names:
            assert shelf.champion(tx, name) is not None
        assert all(shelf.champion(tx, name, load=False) for name in names)
        clock.now = IDLE_S
        shelf.champion(tx, names[0], load=False)
        shelf.champion(tx, "default")
        assert len(shelf.served()) == KEPT and shelf.champion(tx, names[0], load=False) is not None
        with pytest.raises(NotAtHand):
            shelf.champion(tx, names[1], load=False)
        assert shelf.champion(tx, names[1]) is not None
