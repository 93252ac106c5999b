"""Play a labelled CSV to a running stack as if it happened now: predict first, tell the labels after.

The first rows are uploaded and the first version is trained on them; every later chunk is predicted by the
version that serves, scored here, and only then labelled. Drift is found and mended by the stack alone: this
client asks for a check after each chunk (`--in-step`, reproducible) or leaves all of it to beat
(`--rows-per-second`). It needs httpx, and matplotlib for the plot.

    python examples/stream.py rooms.csv --model rooms --problem examples/rooms.toml
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, NoReturn

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it also runs as a file, from anywhere

from examples.stack import OPEN, WAIT_S, Json, Refused, Row, Stack
from examples.story import Event, Measure, Story, plot, report

ALARMS = {"drift", "floor"}
PATIENCE_S = 300.0


# ---- the rows


@dataclass(frozen=True, slots=True)
class Source:
    """A CSV file with a header row, plain or gzipped, read as it is needed."""

    path: Path

    def rows(self) -> Iterator[Row]:
        """Every row below the header, in the file's order."""
        with self._open() as file:
            reader = csv.reader(file)
            next(reader, None)
            yield from (row for row in reader if row)

    @property
    def header(self) -> Row:
        """The columns' names."""
        with self._open() as file:
            return next(csv.reader(file), [])

    def places(self, names: Sequence[str]) -> list[int]:
        """In which columns these names stand.

        Raises:
            Refused: one of them is not in the header.
        """
        missing = [name for name in names if name not in self.header]
        if missing:
            raise Refused(f"{self.path} has no column {', '.join(missing)}; its columns are {', '.join(self.header)}")
        return [self.header.index(name) for name in names]

    def _open(self) -> IO[str]:
        gzipped = self.path.suffix == ".gz"
        return gzip.open(self.path, "rt", newline="") if gzipped else self.path.open(newline="", encoding="utf-8")


def chunks(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    """The rows in lists of `size`; the last may be shorter."""
    while chunk := list(islice(rows, size)):
        yield chunk


@dataclass(frozen=True, slots=True)
class Truth:
    """How a model's labels are written in a table, and what a prediction costs against them."""

    regression: bool
    classes: dict[str, Any]

    @classmethod
    def of(cls, model: Json) -> Truth:
        """As the model has learnt them."""
        schema = model["schema"]
        classes = {str(known).lower() if isinstance(known, bool) else str(known): known for known in schema["classes"] or []}
        return cls(schema["task"] == "regression", classes)

    def read(self, text: str) -> Any:
        """A cell as JSON: a number for a regression, else a class, known (`1.0` is the class 1) or new.

        Raises:
            Refused: a regression's label is not a number.
        """
        text, number = text.strip(), _number(text)
        if text.lower() in ("true", "false") and any(isinstance(known, bool) for known in self.classes.values()):
            return text.lower() == "true"
        if self.regression:
            if number is None:
                raise Refused(f"the label {text!r} is not a number")
            return number
        if text not in self.classes and number is not None and number.is_integer():
            return self.classes.get(str(int(number)), int(number))
        return self.classes.get(text, self.classes.get(text.lower(), text))

    def score(self, prediction: Json, truth: Any) -> float:
        """The row's absolute error, or for a class 1 if it is right, else 0."""
        return abs(prediction["value"] - truth) if self.regression else float(prediction["label"] == truth)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


# ---- the stream


@dataclass(slots=True)
class Player:
    """Plays a source's rows to one model and watches what the stack makes of them."""

    stack: Stack
    source: Source
    model: str
    story: Story = field(default_factory=Story)
    began: str = ""
    looked: str = ""
    seen: set[str] = field(default_factory=set)
    trainings: set[str] = field(default_factory=set)

    def learn(self, rows: Iterator[Row], count: int) -> int:
        """Upload the next rows as a dataset; how many there were.

        Raises:
            Refused: there are none left, or they were not taken.
        """
        part = list(islice(rows, count))
        if not part:
            raise Refused(f"the file has ended, and {self.model} has no version yet: {self._why_none()}")
        job = self.stack.send_rows("/datasets", self.model, self.source.header, part)
        self.began = self.began or job["created_at"]
        self.looked = self.looked or job["created_at"]
        if job["status"] != "succeeded":
            raise Refused(f"{len(part):,} rows to learn from were not taken: {_failure(job)}")
        return len(part)

    def is_served(self) -> bool:
        """Whether a version serves."""
        return self.stack.ask("GET", f"/models/{self.model}")["champion"] is not None

    def _why_none(self) -> str:
        classes = self.stack.ask("GET", f"/models/{self.model}")["schema"]["classes"] or []
        return f"every label is {classes[0]}" if len(classes) == 1 else "its rows are too few"

    def predict(self, rows: list[Row]) -> None:
        """Predict rows, score what is said of them, and tell their labels; rows without one are only predicted."""
        model = self.stack.ask("GET", f"/models/{self.model}")
        features, truth = list(model["schema"]["features"]), Truth.of(model)
        places = self.source.places(features)
        (label,) = self.source.places([model["schema"]["label"]])
        job = self.stack.send_rows("/predict", self.model, features, ([row[at] for at in places] for row in rows))
        if job["status"] != "succeeded":
            return  # `look_back` tells of it
        said = self.stack.ask("GET", job["links"]["result"])["predictions"]
        known = [(one, truth.read(row[label])) for one, row in zip(said, rows, strict=True) if row[label].strip()]
        self.story.scores += [truth.score(one, answer) for one, answer in known]
        told = [{"prediction_id": one["prediction_id"], "label": answer} for one, answer in known]
        if told:
            self.stack.ask("POST", "/feedback", json={"labels": told})

    def check(self) -> None:
        """Ask for a check, and wait for it and for the training that it may start."""
        job = self.stack.do(f"/models/{self.model}/checks")
        if job["status"] == "succeeded":
            self._note(job["result"])
        self._settle(wait=True)

    def look(self) -> None:
        """What the checks that beat asked for have found and started since the last look, and what has ended."""
        for check in reversed(list(self.stack.newest(f"/models/{self.model}/checks", self.looked))):
            self._note(check)
            self.looked = check["created_at"]
        self._settle()

    def look_back(self) -> None:
        """Wait for the last training, and collect every job of this model that failed since the stream began."""
        self._settle(wait=True)
        for status in ("failed", "dead"):
            lost = self.stack.newest("/jobs", self.began, model=self.model, status=status)
            self.story.failures += [_failure(job) for job in lost]

    def await_champion(self) -> None:
        """Wait until a first version serves.

        Raises:
            Refused: none does in time.
        """
        deadline = time.monotonic() + PATIENCE_S
        while not self.is_served():
            if time.monotonic() > deadline:
                raise Refused(f"{self.model} has no version after {PATIENCE_S:.0f} s")
            time.sleep(0.5)
        self.look()

    def _note(self, check: Json) -> None:
        """A check that started a training: that is a retraining, and with a cause in the loss also an alarm."""
        training = check["train_job"]
        if training is None or training in self.seen:
            return
        self.seen.add(training)
        self.trainings.add(training)
        if check["decision"] in ALARMS:
            self._happened("alarm")
        self._happened("retraining")

    def _settle(self, wait: bool = False) -> None:
        """Tell of the trainings that have ended; `wait` for all of them."""
        for training in sorted(self.trainings):
            job = self.stack.ask("GET", f"/jobs/{training}")
            job = self.stack.finish(job) if wait else job
            if job["status"] in OPEN:
                continue
            self.trainings.discard(training)
            if job["status"] == "succeeded":
                self.story.decisions.append(job["result"]["decision"])
                if job["result"]["decision"] == "promoted":
                    self._happened("promotion")

    def _happened(self, event: Event) -> None:
        self.story.events.append((len(self.story.scores), event))


def _failure(job: Json) -> str:
    error = job["error"] or {}
    return f"{job['kind']} {job['id']} {job['status']}: {error.get('type')}: {error.get('message')}"


def play(player: Player, warm: int, size: int, rows_per_second: int | None, show: Progress) -> None:
    """The whole stream: `warm` rows to learn from, then chunks of `size`, in step or at a pace.

    In step, chunks are learnt from until there is a version: the first rows may be too few, or all of one class.
    """
    rows = player.source.rows()
    player.learn(rows, warm)
    if rows_per_second is None:
        player.check()
        while not player.is_served():
            show.done += player.learn(rows, size)
            player.check()
    player.await_champion()
    began = time.monotonic()
    for number, chunk in enumerate(chunks(rows, size), 1):
        player.predict(chunk)
        if rows_per_second is None:
            player.check()
        else:
            time.sleep(max(0.0, began + number * size / rows_per_second - time.monotonic()))
            player.look()
        show.draw(len(chunk), player.story)
    player.look_back()


# ---- what people see


@dataclass(slots=True)
class Progress:
    """One line that moves on a terminal, and stays silent in a file."""

    measure: Measure
    total: int
    done: int = 0

    def draw(self, rows: int, story: Story) -> None:
        """So many more rows were played."""
        self.done += rows
        if not sys.stderr.isatty():
            return
        filled = 24 * self.done // max(self.total, 1)
        counts = f"{story.count('alarm')} ▲ {story.count('retraining')} ↻ {story.count('promotion')} ★"
        line = f"{'█' * filled:░<24} {self.done:,}/{self.total:,} rows  {self.measure.name} {self.measure.text(story.mean())}"
        print(f"\r\x1b[K{line}  {counts}", end="" if self.done < self.total else "\n", file=sys.stderr, flush=True)


# ---- the command


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Play a labelled CSV to a running stack: predict first, labels after.")
    parser.add_argument("csv", type=Path, help="CSV with a header row, oldest row first; may be gzipped (.gz)")
    parser.add_argument("--model", required=True, help="the model's name")
    parser.add_argument("--problem", type=Path, metavar="FILE.toml", help="declare the model first (PUT /models/NAME)")
    parser.add_argument("--url", default=os.environ.get("API_BASE_URL") or "http://127.0.0.1:8000", help="%(default)s")
    parser.add_argument("--key", help="token of an operator; otherwise API_KEY, or DATA_DIR/api_key")
    parser.add_argument("--warm", type=_positive, default=2_000, help="first rows, uploaded to learn from (%(default)s)")
    parser.add_argument("--chunk", type=_positive, default=500, help="rows to predict before their labels (%(default)s)")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--in-step", action="store_true", help="a check after each chunk, waited for (the default)")
    pace.add_argument("--rows-per-second", type=_positive, metavar="N", help="leave the checks to beat")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="where to save the plot (MODEL.png)")
    return parser.parse_args(given)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number from 1 up")
    return int(text)


def _key(given: str | None) -> str:
    kept = Path(os.environ.get("DATA_DIR", "data")) / "api_key"
    key = given or os.environ.get("API_KEY") or (kept.read_text().strip() if kept.exists() else "")
    return key or _stop(f"No token: give --key, set API_KEY, or start the stack here, so that it makes {kept}.")


def _stop(line: str) -> NoReturn:
    print(line, file=sys.stderr)
    raise SystemExit(2)


def run(asked: argparse.Namespace, stack: Stack) -> int:
    """Play, tell and plot; the exit status."""
    began, source = time.monotonic(), Source(asked.csv)
    if asked.problem:
        stack.ask("PUT", f"/models/{asked.model}", json=tomllib.loads(asked.problem.read_text()))
    model = stack.ask("GET", f"/models/{asked.model}")
    source.places([*model["schema"]["features"], model["schema"]["label"]])
    measure, player = Measure.of(model), Player(stack, source, asked.model)
    total = sum(1 for _ in source.rows()) - asked.warm
    if total < 1:
        raise Refused(f"{asked.csv} ends before --warm {asked.warm:,} rows: nothing is left to stream")
    play(player, asked.warm, asked.chunk, asked.rows_per_second, Progress(measure, total))
    print(report(asked.model, player.story, measure, time.monotonic() - began))
    target = asked.plot or Path(f"{asked.model}.png")
    try:
        plot(player.story, measure, asked.model, target)
        print(f"  {'plot':<12} {target}")
    except ImportError:
        print("  No plot: matplotlib is missing (pip install matplotlib).")
    return 1 if player.story.failures else 0


def main(given: Sequence[str] | None = None) -> int:
    """Exit status 0; 1 if a job failed; 2 if the stream could not be played."""
    asked = arguments(given)
    headers = {"Authorization": f"Bearer {_key(asked.key)}"}
    with httpx.Client(base_url=asked.url, headers=headers, timeout=WAIT_S + 30.0) as http:
        try:
            http.get("/livez")  # without patience: a stack that was never started does not come by itself
            return run(asked, Stack(http))
        except httpx.ConnectError:
            _stop(f"No stack answers at {asked.url}: start one with `make up`, or give --url.")
        except (Refused, OSError, httpx.TransportError, tomllib.TOMLDecodeError) as fault:
            _stop(f"{type(fault).__name__}: {fault}")


if __name__ == "__main__":
    sys.exit(main())
