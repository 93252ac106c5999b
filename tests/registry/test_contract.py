"""What every registry promises, shown on each adapter."""

from collections.abc import Callable
from pathlib import Path

import pytest

from registry.port import ModelRegistry, UnknownVersion, Upload

Uploads = Callable[..., Upload]
# MLflow 3.17's own mapping, when it is first used; SQLAlchemy 2.1 still does what it asks.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


def test_versions_count_from_one_for_each_model(registry: ModelRegistry, upload: Uploads) -> None:
    """Two trainings of one model are its versions 1 and 2; another model begins at 1 again."""
    made = [registry.register(upload(model, job)) for model, job in (("count", "a"), ("count", "b"), ("other", "c"))]
    assert made == ["1", "2", "1"]


def test_a_job_registers_once(registry: ModelRegistry, upload: Uploads) -> None:
    """The same job again, as after a crash before it could finish, gets the version that it made."""
    first, _, again = (registry.register(upload("once", job)) for job in ("a", "b", "a"))
    assert (first, again) == ("1", "1")


def test_the_same_job_id_of_another_model_is_another_job(registry: ModelRegistry, upload: Uploads) -> None:
    """The tag counts within its model only."""
    registry.register(upload("left", "x"))
    registry.register(upload("right", "w"))
    assert registry.register(upload("right", "x")) == "2"


def test_fetching_gives_the_very_bytes(registry: ModelRegistry, upload: Uploads, tmp_path: Path) -> None:
    """The file that was hashed at training is the file that comes back, of each version its own."""
    sent = [upload("bytes", job) for job in ("a", "b")]
    versions = [registry.register(each) for each in sent]
    for each, version in zip(sent, versions, strict=True):
        registry.fetch("bytes", version, tmp_path / version)
        assert (tmp_path / version).read_bytes() == each.file.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_fetching_replaces_what_was_there(registry: ModelRegistry, upload: Uploads, tmp_path: Path) -> None:
    """A half-written file from an earlier attempt is no hindrance."""
    sent = upload("replace", "a")
    to = tmp_path / "model.skops"
    to.write_bytes(b"half")
    registry.fetch("replace", registry.register(sent), to)
    assert to.read_bytes() == sent.file.read_bytes()


def test_the_champion_is_the_version_that_was_named_last(registry: ModelRegistry, upload: Uploads) -> None:
    """None before there is one; a new version alone changes nothing; back again is possible."""
    assert registry.champion("throne") is None
    registry.register(upload("throne", "a"))
    assert registry.champion("throne") is None
    seen = []
    registry.register(upload("throne", "b"))
    for version in ("1", "2", "2", "1"):
        registry.set_champion("throne", version)
        seen.append(registry.champion("throne"))
    assert seen == ["1", "2", "2", "1"]


def test_the_challenger_has_an_alias_while_it_is_on_trial(registry: ModelRegistry, upload: Uploads) -> None:
    """It may be named, named anew and taken away, also where there is none; the champion is not touched."""
    for job in ("a", "b", "c"):
        registry.register(upload("rival", job))
    registry.set_champion("rival", "1")
    for version in (None, "2", "3", None, None):
        registry.set_challenger("rival", version)
    with pytest.raises(UnknownVersion):
        registry.set_challenger("rival", "9")
    assert registry.champion("rival") == "1"


@pytest.mark.parametrize(("model", "version"), [("known", "99"), ("known", "abc"), ("known", ""), ("nobody", "1")])
def test_an_unknown_version_is_refused(
    registry: ModelRegistry, upload: Uploads, tmp_path: Path, model: str, version: str
) -> None:
    """Neither does it become champion, nor is a file written."""
    registry.register(upload("known", "a"))
    with pytest.raises(UnknownVersion):
        registry.set_champion(model, version)
    with pytest.raises(UnknownVersion):
        registry.fetch(model, version, tmp_path / "model.skops")
    assert registry.champion(model) is None
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_is_forgotten_is_unknown_and_all_others_stay(
    registry: ModelRegistry, upload: Uploads, tmp_path: Path
) -> None:
    """Its file, its alias and its number are gone for good; again, or without such a version, nothing happens."""
    sent = [upload("past", job) for job in ("a", "b", "c")]
    for each in sent:
        registry.register(each)
    registry.set_champion("past", "2")
    for version in ("3", "3", "9", "1"):
        registry.forget("past", version)
    registry.forget("nobody", "1")
    for version in ("1", "3"):
        with pytest.raises(UnknownVersion):
            registry.fetch("past", version, tmp_path / "model.skops")
        with pytest.raises(UnknownVersion):
            registry.set_champion("past", version)
    registry.fetch("past", "2", tmp_path / "model.skops")
    assert (tmp_path / "model.skops").read_bytes() == sent[1].file.read_bytes()
    assert registry.champion("past") == "2"
    assert registry.register(upload("past", "d")) == "4"
    registry.forget("past", "2")
    assert registry.champion("past") is None


def test_what_a_job_has_registered_in_vain_is_forgotten_and_others_stay(
    registry: ModelRegistry, upload: Uploads, tmp_path: Path
) -> None:
    """Twice is once; another model's job of the same id keeps its version; tried again, the job gets a new number."""
    for model, job in (("vain", "a"), ("vain", "b"), ("vainer", "b")):
        registry.register(upload(model, job))
    for _ in range(2):
        registry.forget_job("vain", "b")
    registry.forget_job("nobody", "b")
    with pytest.raises(UnknownVersion):
        registry.fetch("vain", "2", tmp_path / "model.skops")
    for model in ("vain", "vainer"):
        registry.fetch(model, "1", tmp_path / "model.skops")
    assert registry.register(upload("vain", "b")) == "3"


def test_opening_the_store_again_changes_nothing(registry: ModelRegistry, upload: Uploads) -> None:
    """As at every start after the first."""
    registry.register(upload("kept", "a"))
    registry.prepare()
    registry.ping()
    assert registry.register(upload("kept", "b")) == "2"
