"""Run a training again from its decision record, and say whether the same model comes out, byte for byte.

Versions that it was compared with and that were pruned since are trained again first, and vouched for by their hashes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection

from ml.challenger import Training, train
from ml.model_file import RefusedModel, content
from problems.declaration import Problem, parse_problem
from registry.port import UnknownVersion
from storage import decisions, labels, versions
from storage.decisions import Decision
from storage.versions import Version
from workers import history, lineage, recall
from workers.history import Learnable
from workers.room import Room

Made = dict[int, Any]  # pipelines that were trained again, by the version's number
NEAR_S: Final = 60.0  # how long a correction may be under way, or a clock be ahead
MOST_MOMENTS: Final = 100  # of so many corrections, each looked at in some 0.1 s
OUTCOMES: Final = {"promote": "promoted", "train": "promoted", "reject": "rejected"}  # "train": it won, and went on trial


class CannotReproduce(ValueError):
    """There is nothing to run again, or what the training read is no longer there; the text says what, in a sentence."""


@dataclass(frozen=True, slots=True)
class Again:
    """A training that was run again.

    Attributes:
        made: what came out, in words.
        around: libraries and code that are others than then.
        faults: what came out otherwise; the same model, or the same scores of a rejected one, if there are none.
    """

    made: str
    around: list[str]
    faults: list[str]


def run(room: Room, decision_id: str) -> Again:
    """Train again what this decision records, or, of a rollback or an alias moved by hand, the version it put in place.

    Raises:
        CannotReproduce: with the reason.
    """
    made: Made = {}
    with room.db.read() as tx:
        decision = _training(tx, decision_id)
        pruned = _pruned_before(tx, decision)
    for version in pruned:
        made[version.number] = _made_again(room, version, made)
    return _compare(decision, _train(room, decision, made))


def _train(room: Room, decision: Decision, made: Made) -> Training:
    """The training that this decision ended, once more."""
    known = decision.evidence["data"]

    def pipeline(version: Version) -> Any:
        return made[version.number] if version.number in made else room.shelf.pipeline(version)

    with room.db.read(one_moment=True) as tx:
        problem = parse_problem(decision.model, known["problem"], known["source"])
        learnt = _rows(room, tx, problem, known)
        champion = versions.get(tx, decision.model, known["champion"]) if known["champion"] else None
        earlier = [found for name in known["recall"] if (found := versions.get(tx, decision.model, name))]
    past, seed, reason = learnt.past, known["seed"], decision.evidence["reason"]
    recalled = recall.candidates(earlier, past, pipeline)
    before = _loaded(champion, pipeline)
    return train(problem, past.rows, past.truth, before, known["since"], seed, reason, learnt.replay, recalled)


def _pruned_before(tx: Connection, decision: Decision) -> list[Version]:
    """The pruned versions that this training was compared with, those that theirs were compared with, and so on; oldest first."""
    found: dict[int, Version] = {}
    ask = [decision]
    while ask:
        known = ask.pop().evidence["data"]
        for name in filter(None, (known["champion"], *known["recall"])):
            version = versions.get(tx, decision.model, name)
            if version is not None and version.pruned_at is not None and version.number not in found:
                found[version.number] = version
                ask.append(_end_of(tx, version))
    return [found[number] for number in sorted(found)]


def _made_again(room: Room, version: Version, made: Made) -> Any:
    """A pruned version's pipeline, the very one: its bytes have the hash that the ledger knows."""
    with room.db.read() as tx:
        decision = _end_of(tx, version)
    again = _train(room, decision, made).model
    digest = None if again is None else _sha256(again)
    if digest != version.sha256:
        said = f"SHA-256 {digest[:12]}…, was {version.sha256[:12]}…" if digest else "it would be rejected now"
        raise CannotReproduce(f"Version {version.name}, which was pruned since, does not come out as it was: {said}.")
    return again


def _training(tx: Connection, decision_id: str) -> Decision:
    """The decision that ended the training."""
    asked = decisions.get(tx, decision_id)
    if asked is None:
        raise CannotReproduce(f"There is no decision {decision_id}.")
    version = versions.get(tx, asked.model, asked.version) if asked.job_id is None and asked.version else None
    return _end(tx, asked, version.job_id if version else asked.job_id)


def _end_of(tx: Connection, version: Version) -> Decision:
    """The decision that ended the training of a version."""
    decided = decisions.of_job(tx, version.model, version.job_id)
    if not decided:
        raise CannotReproduce(f"Version {version.name}, which was pruned since, has no decision record.")
    return _end(tx, decided[0], version.job_id)


def _end(tx: Connection, asked: Decision, job_id: str | None) -> Decision:
    decision_id = asked.id
    ends = [each for each in decisions.of_job(tx, asked.model, job_id) if "data" in each.evidence] if job_id else []
    if not ends:
        raise CannotReproduce(f"Decision {decision_id} ({asked.action}) ended no training that learnt anything: {asked.reason}")
    if "rows_sha256" not in ends[0].evidence["data"]:
        raise CannotReproduce(f"Decision {decision_id} was recorded by a release that noted too little to run it again.")
    return ends[0]


def _rows(room: Room, tx: Connection, problem: Problem, known: lineage.Lineage) -> Learnable:
    """The rows that were learnt from, with their labels as they stood then."""
    if known["source_sha256"] != lineage.source_digest(known["source"]):
        raise CannotReproduce(f"{known['source']} is another file than then.")
    read_at = lineage.epoch(known["read_at"])
    try:
        return _rows_of(room, tx, problem, known, read_at)
    except CannotReproduce:
        for moment in _near(tx, problem.name, read_at):
            with suppress(CannotReproduce):
                return _rows_of(room, tx, problem, known, moment)
        raise


def _rows_of(room: Room, tx: Connection, problem: Problem, known: lineage.Lineage, moment: float) -> Learnable:
    """The rows, if they are those of this moment."""
    try:
        tail, head = known["history"]
        learnt = history.learnable(room, tx, problem, tail, head, known["seed"], as_of=moment)
    except FileNotFoundError as gone:
        raise CannotReproduce(f"A file of rows is gone: {gone.filename}.") from gone
    there, needed = len(learnt.past) if learnt else 0, known["rows"] + known["replay"]["older"]
    if learnt is None or there != needed:
        raise CannotReproduce(f"{there:,} of the {needed:,} rows are still there.")
    found = lineage.digest(problem, learnt.past)
    if found != known["rows_sha256"]:
        raise CannotReproduce(f"The rows are not those of then: SHA-256 {found[:12]}…, was {known['rows_sha256'][:12]}….")
    return learnt


def _near(tx: Connection, model: str, moment: float) -> list[float]:
    """Other moments that the rows may be of, the nearest first: the hash of the rows says whether one is.

    A correction that was under way when the rows were read is not among them, though it says that it came before; one by a
    machine whose clock is ahead is, though it says that it came later.
    """
    corrected = labels.corrected(tx, model, moment - NEAR_S, moment + NEAR_S)
    before = [math.nextafter(corrected[0], 0.0)] if corrected else []
    return sorted([*before, *corrected], key=lambda at: abs(at - moment))[:MOST_MOMENTS]


def _loaded(champion: Version | None, pipeline: Callable[[Version], Any]) -> Any:
    if champion is None:
        return None
    try:
        return pipeline(champion)
    except (RefusedModel, UnknownVersion) as fault:
        raise CannotReproduce(f"Version {champion.name}, which it was compared with, cannot be loaded: {fault}.") from fault


def _compare(decision: Decision, again: Training) -> Again:
    known = decision.evidence["data"]
    now = lineage.libraries() | {"code": lineage.code_version()}
    then = known["libraries"] | {"code": known["code_version"]}
    around = [f"{name} is {now.get(name)}, was {then[name]}" for name in then if now.get(name) != then[name]]
    before, faults = decision.evidence, []
    if [asdict(each) for each in again.candidates] != before["candidates"]:
        faults.append("the candidates have other scores")
    if again.decision != OUTCOMES[decision.action]:
        faults.append(f"the training would be {again.decision}, was {OUTCOMES[decision.action]}")
    if again.model is None:
        return Again(f"the scores of {len(again.candidates)} rejected candidates", around, faults)
    digest = _sha256(again.model)
    if digest != before.get("model_sha256", digest):
        faults.append(f"the model's SHA-256 is {digest}, was {before['model_sha256']}")
    return Again(f"version {decision.version} of {decision.model}, SHA-256 {digest}", around, faults)


def _sha256(pipeline: Any) -> str:
    """What a version of it would be known by in the ledger."""
    return hashlib.sha256(content(pipeline)).hexdigest()
