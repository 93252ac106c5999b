"""The demo: a client's view of the loop, told while it happens. Nothing here is staged.

Rows are drawn here, predicted over HTTP, and their true labels are posted back. The rule behind the
labels is then changed, and the story waits, as any client would, for the stack to notice and mend it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import httpx

from embedded.console import Console, bar
from embedded.traffic import ROWS, Answer, Traffic, accuracy
from embedded.world import World
from settings import Settings

STRENGTH = 0.8
BEFORE, AFTER = 2_000, 1_500  # predictions under the old rule, and by the new model
PATIENCE_S = 90.0
ALARMS = {"drift", "floor"}

Json = dict[str, Any]


class StoryFailed(RuntimeError):
    """The loop did not do what the story waited for; the text says what that was."""


@dataclass(slots=True)
class Storyteller:
    """Tells the seven steps, one line each, and remembers what the later ones compare with."""

    client: httpx.Client
    console: Console
    world: World
    traffic: Traffic
    interval_s: float
    floor: float = 0.0
    mended_by: int = 0  # the version that answers the alarm; growing history may have made others before it

    def tell(self) -> None:
        """The whole story.

        Raises:
            StoryFailed: a step did not come to pass.
        """
        began = time.monotonic()
        note = f"It checks every {self.interval_s:g} s here instead of every 30, so that you need not wait."
        self.console.line(self.console.dim(note))
        self._a_job()
        self._the_model()
        before = self._traffic()
        changed_at, alarm = self._the_rule_changes(before)
        training = self._retraining(alarm)
        after = self._the_swap(changed_at, training)
        self._told(changed_at)
        if not after >= self.floor:
            raise StoryFailed(f"accuracy is {after:.2f} after the retraining, below the floor {self.floor:.2f}")
        self.console.line(f"\nThe loop closed in {time.monotonic() - began:.0f} s.")

    def _a_job(self) -> None:
        (row,) = self.world.draw(1).instances
        posted = self.client.post("/predict", json={"model": "default", "instances": [row]})
        posted.raise_for_status()
        job = posted.json()
        self.console.moving(f"1 A job              {job['id']} {job['status']} …")
        began = time.monotonic()
        states = [job["status"], *(event["status"] for event in self._events(job["links"]["events"]))]
        path = " → ".join(state for state, _ in groupby(states))
        waited = f"{time.monotonic() - began:.1f} s"
        self._step(1, "A job", f"POST /predict → {posted.status_code}  {job['id'][:8]}…  {path}   ({waited})")
        if states[-1] != "succeeded":
            raise StoryFailed(f"the first job ended as {states[-1]}")

    def _the_model(self) -> None:
        status = self._get("/model-status")
        self.floor = status["threshold"]
        trainings = self._get("/jobs", kind="train", model="default", status="succeeded", limit=1)["jobs"]
        rows = f"on {trainings[0]['result']['rows']:,} rows" if trainings else "earlier"
        scored = "" if status["performance"] is None else f"accuracy {status['performance']:.2f} on rows held out, "
        self._step(2, "The model", f"v{status['version']}, trained by itself {rows}; {scored}floor {self.floor:.2f}")

    def _traffic(self) -> float:
        self.traffic.start()
        while len(self.traffic.answers) * ROWS < BEFORE:
            self._draw(3, "Traffic", self.traffic.answers)
            time.sleep(0.2)
        found = accuracy(self.traffic.answers)
        self._step(3, "Traffic", f"{bar(found)} {BEFORE:,} predictions, labels right after   accuracy {found:.2f}")
        return found

    def _the_rule_changes(self, before: float) -> tuple[float, Json]:
        changed_at = time.time()
        first = len(self.traffic.answers)
        self.world.turn(STRENGTH)
        alarm = self._until(
            "an alarm",
            lambda: next((c for c in self._checks_since(changed_at) if c["decision"] in ALARMS), None),
            lambda: self._draw(4, "The rule changes", self.traffic.answers[first:]),
        )
        found = accuracy(self.traffic.answers[first:])
        what = f"drift=concept strength={STRENGTH}"
        self._step(4, "The rule changes", f"{bar(found)} {what}   accuracy {before:.2f} → {found:.2f}")
        near = "" if alarm["rows_since_change"] is None else f"; it began {alarm['rows_since_change']:,} rows before"
        evidence = f"evidence {alarm['statistic']:,.0f} ≥ {alarm['limit']:,.0f}{near}"
        took = f"{_epoch(alarm['created_at']) - changed_at:.1f} s after the change"
        self.console.line(f"  {'alarm':<18} {evidence}   ({took})")
        return changed_at, alarm

    def _retraining(self, alarm: Json) -> Json:
        def promoted() -> Json | None:
            jobs = self._get("/jobs", kind="train", model="default", status="succeeded", limit=10)["jobs"]
            mended = [
                job for job in jobs
                if job["created_at"] >= alarm["created_at"] or job["id"] == alarm["train_job"]
            ]  # fmt: skip
            return next((job for job in reversed(mended) if job["result"]["decision"] == "promoted"), None)

        job: Json = self._until("a promotion", promoted, lambda: self._draw(5, "Retraining", self.traffic.answers[-40:]))
        result = job["result"]
        self.mended_by = int(result["version"])
        rows = f"challengers on up to {result['rows']:,} rows, the best on window {result['window']}"
        scores = f"{result['challenger_score']:.2f} against {result['champion_score']:.2f} on rows new to both"
        took = _epoch(job["finished_at"]) - _epoch(alarm["created_at"])
        self._step(5, "Retraining", f"{rows}: {scores} → promoted, {took:.1f} s after the alarm")
        return job

    def _the_swap(self, changed_at: float, training: Json) -> float:
        self._until(
            "answers of the new version",
            lambda: len(self._by_new_version()) * ROWS >= AFTER or None,
            lambda: self._draw(6, "The swap", self._by_new_version()),
        )
        self.traffic.end()
        answers = [answer for answer in self.traffic.answers if answer.at >= changed_at]
        new = self._by_new_version()
        failed = [answer for answer in answers if answer.failure]
        promoted_at = _epoch(training["finished_at"])
        old = [answer.at for answer in answers if answer.version is not None and int(answer.version) < self.mended_by]
        last_old = max(old, default=promoted_at)
        swapped = max(0.0, last_old - promoted_at)
        found = accuracy(new[-AFTER // ROWS :])
        swap = f"v{new[0].version} in every worker after {swapped:.1f} s"
        line = f"{swap}, {len(failed)} of {len(answers)} requests failed"
        self._step(6, "The swap", f"{bar(found)} {line}   accuracy {found:.2f}")
        if failed:
            raise StoryFailed(f"{len(failed)} requests failed, the first: {failed[0].failure}")
        return found

    def _told(self, changed_at: float) -> None:
        def resolved() -> Json | None:
            mine = [incident for incident in self._get("/incidents")["incidents"] if _is_of(incident, changed_at)]
            return mine[-1] if mine and mine[-1]["state"] == "resolved" else None

        incident = self._until("the incident's end", resolved, lambda: None)
        self._step(7, "Told", f"one incident, one message: {incident['title']}")
        for line in incident["lines"]:
            self.console.line(f"  {'':<18} {line}")

    def _by_new_version(self) -> list[Answer]:
        return [each for each in self.traffic.answers if each.version is not None and int(each.version) >= self.mended_by]

    def _checks_since(self, moment: float) -> Iterator[Json]:
        checks = self._get("/models/default/checks", limit=20)["checks"]
        return (check for check in checks if _epoch(check["created_at"]) >= moment)

    def _until(self, what: str, look: Callable[[], Any], draw: Callable[[], None]) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while (found := look()) is None:
            if time.monotonic() > deadline:
                raise StoryFailed(f"waited {PATIENCE_S:.0f} s for {what}")
            draw()
            time.sleep(0.25)
        return found

    def _events(self, path: str) -> Iterator[Json]:
        with self.client.stream("GET", path, timeout=PATIENCE_S) as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))

    def _get(self, path: str, **query: str | int) -> Json:
        answer = self.client.get(path, params=query)
        answer.raise_for_status()
        return dict(answer.json())

    def _step(self, number: int, title: str, text: str) -> None:
        self.console.line(f"{number} {title:<18} {text}")

    def _draw(self, number: int, title: str, answers: list[Answer]) -> None:
        found = accuracy(answers[-40:])
        if found == found:  # not nan: something was answered
            self.console.moving(f"{number} {title:<18} {bar(found)} {len(answers) * ROWS:,} rows   accuracy {found:.2f}")


def tell(settings: Settings, console: Console) -> bool:
    """Tell the story against the running stack; whether the loop closed."""
    key = settings.api_key.get_secret_value() if settings.api_key else (settings.data_dir / "api_key").read_text()
    options: Json = {
        "base_url": f"http://{settings.api_host}:{settings.api_port}",
        "headers": {"Authorization": f"Bearer {key.strip()}"},
        "timeout": 40.0,
        "trust_env": False,
    }
    world = World(settings.data_dir / "demo_angle")
    with httpx.Client(**options) as watcher, httpx.Client(**options) as asker:
        traffic = Traffic(asker, world)
        try:
            Storyteller(watcher, console, world, traffic, settings.check_interval_seconds).tell()
        except (StoryFailed, httpx.HTTPError) as failed:
            console.warn(f"The story did not close: {failed}. The logs are in {settings.data_dir / 'logs'}.")
            return False
        finally:
            if traffic.is_alive():
                traffic.end()
    return True


def _epoch(time_text: str) -> float:
    return datetime.fromisoformat(time_text).timestamp()


def _is_of(incident: Json, moment: float) -> bool:
    drift = incident["model"] == "default" and incident["title"].startswith("Drift")
    return bool(drift and _epoch(incident["opened_at"]) >= moment)
