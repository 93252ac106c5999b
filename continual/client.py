"""The HTTP API as methods, under the API's own verbs."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx
import msgspec

import continual.answers as answers
from continual.answers import Page
from continual.errors import ApiError, Problem, silence
from continual.tables import Table, media_of
from continual.transport import KEY, Transport

T = TypeVar("T")
Row = Sequence[Any] | Mapping[str, Any]
Told = Callable[[answers.Job], None]
LONGEST_WAIT_S = 60.0  # that one request may hold
MOST_LIMIT = 100  # entries of one page
LOOK_S = 0.5  # between two looks at a job of which somebody wants to hear
AGAIN_S = 0.2  # before a broken stream of events is taken up again
JSON = {"Content-Type": "application/json"}


class Client:
    """A stack, as whoever holds this token may use it. Safe to share between threads; close it, or use it in a `with`.

    A busy stack (429, 503) is waited for, as long as `patience_s` allows and as it asks to; a POST that makes a job carries an
    Idempotency-Key through all its tries, so that a lost answer makes no second job. Each method raises `ApiError` where the
    API refuses or does not answer.

    Args:
        base_url: where the API is.
        token: its secret; empty for what is open to anyone.
        timeout_s: how long an answer may take, beyond what is asked to wait.
        patience_s: how long one request is tried again; 0 for never.
        carrier: in place of the network, for tests.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        token: str = "",
        *,
        timeout_s: float = 30.0,
        patience_s: float = 60.0,
        carrier: httpx.BaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._api = Transport(self.base_url, token, timeout_s, patience_s, carrier)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go."""
        self._api.close()

    # ---- jobs that are posted

    def predict(
        self, rows: Sequence[Row] | Table | Path, model: str = "default", *, wait_s: float = 0.0, key: str | None = None
    ) -> answers.Job:
        """Predict rows: lists or objects, or a table as CSV, Parquet or Arrow.

        Args:
            wait_s: how long to wait for the job's end; it is given as it is then.
            key: the Idempotency-Key; otherwise one of its own.
        """
        if isinstance(rows, Table | Path):
            return self._post_table("/predict", rows, {"model": model}, wait_s, key)
        return self._post("/predict", {"model": model, "instances": rows}, wait_s, key)

    def generate(self, model: str = "default", *, wait_s: float = 0.0, key: str | None = None, **asked: Any) -> answers.Job:
        """Generate labelled rows; `asked`: samples, features, noise, drift, strength and seed, as `POST /generate` takes them."""
        chosen = {name: value for name, value in asked.items() if value is not None}
        return self._post("/generate", {"model": model, **chosen}, wait_s, key)

    def upload(
        self, table: Table | Path, model: str = "default", *, history: bool = False, wait_s: float = 0.0, key: str | None = None
    ) -> answers.Job:
        """Upload labelled rows (CSV or Parquet), oldest first; `history`: older than all others, and no evidence."""
        return self._post_table("/datasets", table, {"model": model, "as": "history" if history else None}, wait_s, key)

    def check(self, model: str = "default", *, wait_s: float = 0.0, key: str | None = None) -> answers.Job:
        """Check a model for drift now, as beat would."""
        return self._post(f"/models/{model}/checks", None, wait_s, key)

    # ---- jobs

    def job(self, job_id: str, *, wait_s: float = 0.0) -> answers.Job:
        """A job: as it is, or when it has ended, at the latest after `wait_s` (at most 60)."""
        params = {"wait": f"{min(wait_s, LONGEST_WAIT_S):.3f}"} if wait_s > 0 else None
        return self._get(answers.Job, f"/jobs/{job_id}", params, wait_s)

    def jobs(
        self,
        *,
        kind: str | None = None,
        status: str | None = None,
        model: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[answers.Job]:
        """Jobs, newest first."""
        return self._page(answers.Job, "/jobs", "jobs", limit, cursor, kind=kind, status=status, model=model)

    def wait(self, job: answers.Job | str, timeout_s: float = math.inf, told: Told | None = None) -> answers.Job:
        """The job at its end, or as it is after `timeout_s`; `told` hears of each change of state or progress."""
        job_id, deadline = job if isinstance(job, str) else job.id, time.monotonic() + timeout_s
        seen, held = None, LONGEST_WAIT_S if told is None else 0.0  # whoever listens hears how it is, and then of each change
        while True:
            rest = max(0.0, deadline - time.monotonic())
            found = self.job(job_id, wait_s=min(rest, held))
            if told is not None and found != seen:
                told(found)
                seen, held = found, LOOK_S
            if found.ended or time.monotonic() >= deadline:
                return found

    def events(self, job_id: str) -> Iterator[answers.Job]:
        """The job as it is now, and again at each change, to its end; a broken stream is taken up again."""
        seen: answers.Job | None = None
        while seen is None or not seen.ended:
            for job in self._stream(job_id):
                if job != seen:
                    seen = job
                    yield job
            if seen is None or not seen.ended:
                time.sleep(AGAIN_S)

    def cancel(self, job_id: str) -> answers.Job:
        """Cancel a job; 409 if it has ended."""
        return self._of(answers.Job, self._api.ask("DELETE", f"/jobs/{job_id}"))

    def retry(self, job_id: str) -> answers.Job:
        """Post a dead or failed job once more: a new job; asked twice, it is the same one."""
        return self._post(f"/jobs/{job_id}/retry", None, 0.0, None)

    def result(self, job_id: str) -> Any:
        """The whole result of a job that succeeded, as its JSON says it."""
        return self._api.ask("GET", f"/jobs/{job_id}/result")

    def shadow(self, job_id: str) -> answers.Shadow:
        """What the challenger on trial would have answered; 404 where it was not asked."""
        return self._get(answers.Shadow, f"/jobs/{job_id}/shadow")

    def result_chunks(self, job_id: str, name: str) -> Iterator[bytes]:
        """The whole result as a table, piece by piece, in the form that this file name's ending says.

        Raises:
            ValueError: the ending is no table's.
        """
        answer = self._api.send("GET", f"/jobs/{job_id}/result", headers={"Accept": media_of(name)})
        try:
            yield from answer.iter_bytes()
        except httpx.TransportError as fault:
            raise silence(fault, answer.request.url) from fault
        finally:
            answer.close()

    # ---- labels and data

    def feedback(self, labels: Mapping[str, Any] | Sequence[Any], job_id: str | None = None) -> answers.Stored:
        """Send labels: by prediction id, or with `job_id` those of that job's first rows, in order."""
        if isinstance(labels, Mapping):
            body: dict[str, Any] = {"labels": [{"prediction_id": each, "label": label} for each, label in labels.items()]}
        else:
            body = {"labels": labels, "job_id": job_id}
        return self._of(answers.Stored, self._send("POST", "/feedback", body, {KEY: uuid.uuid4().hex}))

    def upload_labels(
        self, table: Table | Path, job_id: str | None = None, *, wait_s: float = 0.0, key: str | None = None
    ) -> answers.Job:
        """Send a table of labels, however long: all of them are stored, or none if one is impossible.

        Args:
            table: CSV, Parquet or Arrow with the columns `prediction_id` and `label`; with `job_id` `row` and `label`.
        """
        return self._post_table("/feedback", table, {"job_id": job_id}, wait_s, key)

    def labels(self, job_id: str) -> list[answers.Label]:
        """The labels of a job's predictions."""
        told = self._api.ask("GET", "/feedback", params={"job_id": job_id})
        return [self._of(answers.Label, each) for each in told["labels"]]

    def datasets(self, *, limit: int = 20, cursor: str | None = None) -> Page[answers.Dataset]:
        """Datasets, newest first."""
        return self._page(answers.Dataset, "/datasets", "datasets", limit, cursor)

    def dataset(self, dataset_id: str) -> answers.Dataset:
        """One dataset."""
        return self._get(answers.Dataset, f"/datasets/{dataset_id}")

    # ---- models

    def models(self, *, limit: int = 20, cursor: str | None = None) -> Page[answers.Model]:
        """Models, newest first."""
        return self._page(answers.Model, "/models", "models", limit, cursor)

    def model(self, name: str) -> answers.Model:
        """One model."""
        return self._get(answers.Model, f"/models/{name}")

    def put_model(self, name: str, problem: Mapping[str, Any]) -> answers.Model:
        """Declare a model, or change one; `problem` has the keys of a problem file."""
        return self._of(answers.Model, self._send("PUT", f"/models/{name}", problem))

    def versions(self, model: str = "default", *, limit: int = 20, cursor: str | None = None) -> Page[answers.Version]:
        """A model's versions, newest first."""
        return self._page(answers.Version, f"/models/{model}/versions", "versions", limit, cursor)

    def checks(self, model: str = "default", *, limit: int = 20, cursor: str | None = None) -> Page[answers.Check]:
        """A model's drift checks, newest first."""
        told = self._api.ask("GET", f"/models/{model}/checks", params={"limit": limit, "cursor": cursor})
        found = [self._of(answers.Check, {**check, "everything": check}) for check in told["checks"]]
        return Page(found, told["next_cursor"])

    def decisions(self, model: str = "default", *, limit: int = 20, cursor: str | None = None) -> Page[answers.Decision]:
        """What was decided about a model and why, newest first."""
        return self._page(answers.Decision, f"/models/{model}/decisions", "decisions", limit, cursor)

    def rollback(self, model: str = "default") -> answers.ModelStatus:
        """Let the version serve again that the champion replaced; 409 if there is none."""
        return self._of(answers.ModelStatus, self._api.ask("POST", f"/models/{model}/rollback"))

    def stop_trial(self, model: str = "default") -> answers.ModelStatus:
        """Reject the challenger on trial, so that the champion answers everything again; 409 if there is none."""
        return self._of(answers.ModelStatus, self._api.ask("DELETE", f"/models/{model}/trial"))

    # ---- tokens

    def tokens(self, *, limit: int = 20, cursor: str | None = None) -> Page[answers.Token]:
        """Tokens, newest first."""
        return self._page(answers.Token, "/tokens", "tokens", limit, cursor)

    def make_token(self, name: str, role: str, expires_at: datetime | None = None) -> answers.NewToken:
        """Make a token, until that moment or until it is revoked. Its secret is told this once."""
        return self._of(answers.NewToken, self._send("POST", "/tokens", {"name": name, "role": role, "expires_at": expires_at}))

    def rotate_token(self, token_id: str, grace_s: float = 86_400.0) -> answers.NewToken:
        """Give a token a new secret; the old one stays valid for `grace_s` seconds beside it."""
        return self._of(answers.NewToken, self._send("POST", f"/tokens/{token_id}/rotate", {"grace_s": grace_s}))

    def revoke_token(self, token_id: str) -> None:
        """Revoke a token, from the next request on."""
        self._api.send("DELETE", f"/tokens/{token_id}").close()

    def audit(self, *, limit: int = 20, cursor: str | None = None) -> Page[answers.Act]:
        """Who changed what, newest first."""
        return self._page(answers.Act, "/audit", "audit", limit, cursor)

    # ---- how things are

    def status(self, model: str = "default") -> answers.ModelStatus:
        """How a model is."""
        return self._get(answers.ModelStatus, "/model-status", {"model": model})

    def health(self) -> answers.Health:
        """How the parts are, also where no job can be accepted."""
        return self._of(answers.Health, self._api.ask("GET", "/health", allowed=(503,)))

    def now(self) -> datetime:
        """The API's clock, to the second.

        Raises:
            ValueError: the answer does not say.
        """
        answer = self._api.send("GET", "/livez")
        answer.close()
        return parsedate_to_datetime(answer.headers.get("Date", ""))

    def incidents(self, *, limit: int = 20, cursor: str | None = None) -> Page[answers.Incident]:
        """What people were told, newest first."""
        return self._page(answers.Incident, "/incidents", "incidents", limit, cursor)

    def overview(self) -> answers.Overview:
        """Queues, workers and throughput."""
        return self._get(answers.Overview, "/overview")

    def timeline(self, model: str = "default", *, hours: float = 24.0, points: int = 240) -> answers.Timeline:
        """A model's performance over the last hours, with what happened to it."""
        return self._get(answers.Timeline, f"/models/{model}/timeline", {"hours": hours, "points": points})

    def inputs(self, model: str = "default") -> answers.Inputs:
        """Each feature's newest rows beside those that the champion learnt from."""
        return self._get(answers.Inputs, f"/models/{model}/inputs")

    def settings(self) -> list[answers.Setting]:
        """The settings in effect, without secrets."""
        return [self._of(answers.Setting, each) for each in self._api.ask("GET", "/settings")["settings"]]

    def test_notification(self) -> answers.Job:
        """Send a test message to every channel; the job's end says whether they took it."""
        return self._post("/notifications/test", None, 0.0, None)

    def metrics(self) -> str:
        """The API's metrics, as Prometheus reads them; METRICS_TOKEN, where set, is the token to ask with."""
        answer = self._api.send("GET", "/metrics")
        answer.read()
        return answer.text

    # ---- the wire

    def _get(self, of: type[T], path: str, params: Mapping[str, Any] | None = None, wait_s: float = 0.0) -> T:
        return self._of(of, self._api.ask("GET", path, params=params, wait_s=wait_s))

    @staticmethod
    def _of(of: type[T], told: Any) -> T:
        try:
            return msgspec.convert(told, of)
        except msgspec.ValidationError as wrong:
            raise ApiError(Problem(0, "Not the API", f"The answer is not what this client knows: {wrong}.")) from None

    def _page(self, of: type[T], path: str, noun: str, limit: int, cursor: str | None, **asked: str | None) -> Page[T]:
        told = self._api.ask("GET", path, params={"limit": limit, "cursor": cursor, **asked})
        return Page([self._of(of, entry) for entry in told[noun]], told["next_cursor"])

    def _send(self, method: str, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        encoded = _encode(body)
        return self._api.ask(method, path, content=lambda: encoded, headers={**JSON, **(headers or {})})

    def _post(self, path: str, body: Any, wait_s: float, key: str | None) -> answers.Job:
        encoded = _encode(body) if body is not None else b""
        return self._make(path, lambda: encoded, JSON if encoded else {}, None, wait_s, key)

    def _post_table(
        self, path: str, table: Table | Path, params: Mapping[str, Any], wait_s: float, key: str | None
    ) -> answers.Job:
        rows = Table(str(table)) if isinstance(table, Path) else table
        return self._make(path, rows.opener(), {"Content-Type": rows.media}, params, wait_s, key)

    def _make(
        self,
        path: str,
        content: Any,
        headers: Mapping[str, str],
        params: Mapping[str, Any] | None,
        wait_s: float,
        key: str | None,
    ) -> answers.Job:
        began, held = time.monotonic(), math.ceil(min(wait_s, LONGEST_WAIT_S))
        asked = {KEY: key or uuid.uuid4().hex, **headers, **({"Prefer": f"wait={held}"} if held else {})}
        job = self._of(answers.Job, self._api.ask("POST", path, content=content, headers=asked, params=params, wait_s=held))
        rest = wait_s - (time.monotonic() - began)
        return job if job.ended or rest <= 0 else self.wait(job, rest)

    def _stream(self, job_id: str) -> Iterator[answers.Job]:
        answer = self._api.send("GET", f"/jobs/{job_id}/events")
        try:
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    yield msgspec.json.decode(line.removeprefix("data:"), type=answers.Job)
        except httpx.TransportError:  # whoever listens asks again, and hears then if nobody is there
            return
        finally:
            answer.close()


def every(list_method: Callable[..., Page[T]], *args: Any, **filters: Any) -> Iterator[T]:
    """All entries of a list, page by page: `every(client.jobs, status="failed")`."""
    cursor: str | None = None
    while True:
        page = list_method(*args, **{"limit": MOST_LIMIT, **filters}, cursor=cursor)
        yield from page
        if (cursor := page.next_cursor) is None:
            return


def _encode(body: Any) -> bytes:
    return msgspec.json.encode(body, enc_hook=_plain)


def _plain(value: Any) -> Any:
    """Arrays and scalars of numpy's as Python's own, for the encoder."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"rows hold a {type(value).__name__}; expected numbers, texts, booleans and None")
