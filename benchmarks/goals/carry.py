"""One bulk request as a client makes it: the body up, the job's end, every row down."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from typing import Any

import msgspec

from benchmarks.goals.tables import MEDIA

LONG_S, POLL_S = 600, 0.02


@dataclass(frozen=True, slots=True)
class Wire:
    """Where to send to, and the token."""

    port: int
    key: str


def transfer(wire: Wire, format_: str, model: str, body: bytes) -> tuple[float, bytes]:
    """POST the rows and get every answer in the same format: seconds, and the answers.

    Raises:
        RuntimeError: it was refused, or the job did not succeed.
    """
    line = http.client.HTTPConnection("127.0.0.1", wire.port, timeout=LONG_S)
    line.blocksize = 1 << 20
    line.connect()
    allowed = {"Authorization": f"Bearer {wire.key}"}
    query = "" if format_ == "json" else f"?model={model}"
    began = time.perf_counter()
    line.request("POST", f"/predict{query}", body, {**allowed, "Content-Type": MEDIA[format_], "Prefer": "wait=60"})
    job = _read_job(line)
    while job["status"] in ("queued", "running"):
        line.request("GET", f"/jobs/{job['id']}?wait=60", headers=allowed)
        job = _read_job(line)
    if job["status"] != "succeeded":
        raise RuntimeError(f"{format_}: the job is {job['status']}: {job['error']}")
    line.request("GET", f"/jobs/{job['id']}/result", headers={**allowed, "Accept": MEDIA[format_]})
    answer = line.getresponse()
    data = answer.read()
    seconds = time.perf_counter() - began
    line.close()
    if answer.status != 200:
        raise RuntimeError(f"{format_}: {answer.status} {data[:200]!r}")
    return seconds, data


def poll(wire: Wire, path: str, body: bytes) -> tuple[float, list[list[float]]]:
    """POST the rows to a peer that gives an id, and ask every 20 ms until it has the probabilities: seconds, and these."""
    line = http.client.HTTPConnection("127.0.0.1", wire.port, timeout=LONG_S)
    began = time.perf_counter()
    line.request("POST", path, body, {"Content-Type": "application/json"})
    task = _read_job(line)["id"]
    while True:
        line.request("GET", f"/result/{task}")
        found = _read_job(line)["probabilities"]
        if found is not None:
            line.close()
            return time.perf_counter() - began, found
        time.sleep(POLL_S)


def _read_job(line: http.client.HTTPConnection) -> dict[str, Any]:
    answer = line.getresponse()
    data = answer.read()
    if answer.status not in (200, 202):
        raise RuntimeError(f"{answer.status}: {data[:300]!r}")
    job: dict[str, Any] = msgspec.json.decode(data)
    return job
