"""The client: posts mixed jobs at a steady rate over HTTP, and keeps ids and payloads, for it believes nobody."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

Row = list[float]
Headers = Mapping[str, str]
NONE: Headers = {}
CSV: Headers = {"Content-Type": "text/csv"}
STUBBORN_S = 60.0


@dataclass(frozen=True, slots=True)
class Posted:
    """One POST: what was sent, and the id if it was accepted (202 or 200)."""

    kind: str
    rows: list[Row]
    seconds: float
    job_id: str | None
    refusal: str = ""


@dataclass
class Load:
    """Posts `jobs` jobs at `rate` a second from many threads; the schedule does not wait for slow answers.

    Of a hundred jobs 90 are predictions of 1 to 4 rows as JSON, four are CSV tables of 40 rows, three generate a small
    dataset and three upload one: so every queue has work, and the loop has evidence to check and train on.
    A stubborn client gives each job an Idempotency-Key, waits for its end, and posts again until it has an answer.
    """

    client: httpx.Client
    jobs: int
    rate: float
    seed: int
    stubborn: bool = False
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    posted: list[Posted] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        """The jobs that were accepted so far."""
        return [each.job_id for each in self.posted if each.job_id]

    def start(self) -> None:
        """Begin to post, in the background."""
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until all is posted."""
        self._thread.join()

    def _run(self) -> None:
        chance = random.Random(self.seed)
        began = time.monotonic()
        with ThreadPoolExecutor(48) as pool:
            for n in range(self.jobs):
                time.sleep(max(0.0, began + n / self.rate - time.monotonic()))
                pool.submit(self._post, chance.choice(MIX), _rows(chance, 4), n)

    def _post(self, kind: str, rows: list[Row], n: int) -> None:
        number, began = self.seed * 100_000 + n, time.monotonic()
        more = {"Idempotency-Key": f"{self.name}-{number}", "Prefer": "wait=5"} if self.stubborn else {}
        while True:
            taken, refusal = self._once(kind, rows, number, more)
            if taken or not self.stubborn or time.monotonic() - began > STUBBORN_S:
                break
            time.sleep(0.5)
        self.posted.append(Posted(kind, rows, time.monotonic() - began, taken, refusal))

    def _once(self, kind: str, rows: list[Row], number: int, more: Headers) -> tuple[str | None, str]:
        """The id, or why there is none."""
        try:
            answer = _SEND[kind](self.client, rows, number, more)
        except httpx.HTTPError as fault:
            return None, type(fault).__name__
        taken = answer.json()["id"] if answer.status_code in (200, 202) else None
        return taken, "" if taken else str(answer.status_code)


def _rows(chance: random.Random, most: int) -> list[Row]:
    return [[chance.gauss(0, 1), chance.gauss(0, 1)] for _ in range(chance.randint(1, most))]


def _predict(client: httpx.Client, rows: list[Row], _: int, more: Headers) -> httpx.Response:
    return client.post("/predict", json={"model": "default", "instances": rows}, headers=more)


def _table(client: httpx.Client, rows: list[Row], _: int, more: Headers) -> httpx.Response:
    lines = ["x1,x2", *(f"{x1!r},{x2!r}" for x1, x2 in rows * 10)]
    return client.post("/predict?model=default", content="\n".join(lines), headers={**CSV, **more})


def _generate(client: httpx.Client, _: list[Row], n: int, more: Headers) -> httpx.Response:
    asked = {"samples": 120, "features": 2, "noise": 0.05, "drift": "none", "seed": n}
    return client.post("/generate", json=asked, headers=more)


def _upload(client: httpx.Client, rows: list[Row], _: int, more: Headers) -> httpx.Response:
    return upload(client, "default", rows * 5, more)


def upload(client: httpx.Client, model: str, rows: list[Row], more: Headers = NONE) -> httpx.Response:
    """Post rows as a dataset, each with the label of the built-in model's world."""
    lines = ["x1,x2,label", *(f"{x1!r},{x2!r},{int(x1 + x2 > 0)}" for x1, x2 in rows)]
    return client.post(f"/datasets?model={model}", content="\n".join(lines), headers={**CSV, **more})


def training_rows(count: int = 240) -> list[Row]:
    """Rows enough for a first training, the same each time."""
    chance = random.Random(1)
    return [[chance.gauss(0, 1), chance.gauss(0, 1)] for _ in range(count)]


MIX = ["predict"] * 90 + ["table"] * 4 + ["generate"] * 3 + ["upload"] * 3
_SEND = {"predict": _predict, "table": _table, "generate": _generate, "upload": _upload}
