"""The HTTP API as a client of it sees it: jobs that are waited for, refusals in words, patience with a busy stack."""

from __future__ import annotations

import csv
import io
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

Json = dict[str, Any]
Row = list[str]

OPEN = {"queued", "running"}
TRIES = 12
LONGEST_PAUSE_S = 15.0
WAIT_S = 60  # that one request holds for a job


class Refused(RuntimeError):
    """The stack said no, or could not do what the stream needs; the text is for a person."""


@dataclass(frozen=True, slots=True)
class Stack:
    """The HTTP API, asked until it answers."""

    http: httpx.Client

    def ask(self, method: str, path: str, **request: Any) -> Json:
        """The answer's JSON.

        A POST carries one Idempotency-Key through all its tries, so that a lost answer makes no second job.

        Raises:
            Refused: any answer from 400 up, but for 429 and 503, which are waited out for twelve tries.
            httpx.TransportError: no answer at all in twelve tries.
        """
        headers = {"Idempotency-Key": uuid.uuid4().hex, **request.pop("headers", {})}
        for pause in [min(0.25 * 2**tried, LONGEST_PAUSE_S) for tried in range(TRIES - 1)]:
            try:
                answer = self.http.request(method, path, headers=headers, **request)
            except httpx.TransportError:
                time.sleep(pause)
                continue
            if answer.status_code not in (429, 503):
                return _content(answer)
            time.sleep(_retry_after(answer, pause))
        return _content(self.http.request(method, path, headers=headers, **request))

    def finish(self, job: Json) -> Json:
        """The job, when it is terminal."""
        while job["status"] in OPEN:
            job = self.ask("GET", f"/jobs/{job['id']}", params={"wait": WAIT_S})
        return job

    def do(self, path: str, **request: Any) -> Json:
        """POST a job and wait for its end, whichever that is."""
        return self.finish(self.ask("POST", path, headers={"Prefer": f"wait={WAIT_S}"} | request.pop("headers", {}), **request))

    def send_rows(self, path: str, model: str, header: Row, rows: Iterable[Row]) -> Json:
        """POST rows as CSV, and wait for the job's end."""
        body = io.StringIO()
        csv.writer(body).writerows([header, *rows])
        return self.do(path, params={"model": model}, content=body.getvalue(), headers={"Content-Type": "text/csv"})

    def newest(self, path: str, since: str, **query: str) -> Iterator[Json]:
        """Entries of a list that were created at or after `since`, newest first."""
        noun, cursor = path.rsplit("/", 1)[-1], None
        while True:
            page = self.ask("GET", path, params={"limit": 100, **query, **({"cursor": cursor} if cursor else {})})
            for entry in page[noun]:
                if entry["created_at"] < since:
                    return
                yield entry
            if (cursor := page["next_cursor"]) is None:
                return


def _content(answer: httpx.Response) -> Json:
    if answer.is_error:
        raise Refused(f"{answer.request.method} {answer.request.url.path}: {_problem(answer)}")
    content: Json = answer.json()
    return content


def _problem(answer: httpx.Response) -> str:
    if "json" not in answer.headers.get("Content-Type", ""):
        return f"{answer.status_code} {answer.text[:200]}"
    told = answer.json()
    faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in told.get("errors", [])[:3]]
    return "; ".join([f"{told.get('status')} {told.get('detail') or told.get('title')}", *faults])


def _retry_after(answer: httpx.Response, otherwise: float) -> float:
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked), 60.0) if asked.isdigit() else otherwise
