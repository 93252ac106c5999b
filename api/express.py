"""The express lane: a plain JSON `POST /predict` from the connection's bytes to its answer, without Flask and without a thread.

It answers what it fully understands: rows that fit, a token that was looked at within the last second, a model that is
known, room in the queue. Everything else it leaves untouched, and Flask answers it; no refusal of a request is made here.
Everything but `tell` and `close` runs on the server's loop, and nothing here asks the database.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import msgspec

from api.envelope import NOTHING, SAFE
from api.errors import PROBLEM, Refused, log, problem_json, refusal_of
from api.front import Ticket
from api.head import Head, NotPlain, read_head
from api.house import House
from api.known import FRESH_S
from api.predict import INLINE_BYTES
from api.verified import hash_of, includes
from api.views import JSON, JobView, job_view, queued_view
from jobs.kinds import PREDICT, ROWS_AT_ONCE
from problems.rows import InvalidRows, pack_instances
from storage.database import FAULTS
from storage.ids import new_id
from storage.jobs import TERMINAL, Job, NewJob

Answer = Callable[[bytes], None]
MISFITS = (msgspec.DecodeError, InvalidRows, UnicodeDecodeError, RecursionError)
REMEMBER_S = 60.0  # what nobody has asked with for so long is no longer renewed
ROUTE = "/predict"  # as the metrics name it
_ALWAYS = "".join(f"{name}: {value}\r\n" for name, value in [*SAFE, *NOTHING])


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """The plain form of a prediction's body; the older forms are Flask's."""

    instances: msgspec.Raw
    model: str = "default"


_body = msgspec.json.Decoder(Body)


class Trip:
    """One request on its way, and the eye on its job where the client waits for it.

    Attributes:
        limits: the header lines that tell how the token's rate stands.
        recorded: its job is in the ledger; before that no 202 may be given, however long the client has waited.
    """

    __slots__ = ("answer", "answered", "began", "express", "limits", "new", "recorded", "request_id", "wait_s")

    def __init__(self, express: Express, new: NewJob, wait_s: float, answer: Answer, limits: str) -> None:
        self.limits = limits
        self.express, self.new, self.wait_s, self.answer = express, new, wait_s, answer
        self.request_id = str(new.request_id)
        self.began = time.perf_counter()
        self.answered = self.recorded = False

    def told(self, ticket: Ticket) -> None:
        """The front knows the outcome; who waits hears of it only if it is a refusal."""
        self.recorded = not isinstance(ticket.outcome, Exception)
        if isinstance(ticket.outcome, Exception):
            self.express.arrive(self, ticket.outcome)
        elif not ticket.waits:
            self.express.arrive(self, None)

    def tell(self, job: Job) -> None:
        """The job has ended."""
        self.express.arrive(self, job)

    def close(self) -> None:
        """The process stops."""
        self.express.arrive(self, _STOP)


_STOP = object()


class Express:
    """The lane of one server.

    Args:
        soon: has the loop call something; may be called from any thread.
        aside: has a thread call something; used for what asks the database.
    """

    def __init__(self, house: House, soon: Callable[[Callable[[], None]], None], aside: Callable[..., Any]) -> None:
        self._house, self._soon, self._aside = house, soon, aside
        self._arrived: deque[tuple[Trip, object]] = deque()
        self._called = False
        self._waiting: deque[tuple[float, Trip]] = deque()
        self._used: dict[tuple[str, str], float] = {}  # tokens' hashes and models, and when each was last asked with
        self._renew_at = 0.0

    def take(self, data: bytes, answer: Answer) -> int:
        """Take up the request at the beginning of these bytes.

        Args:
            answer: called once, on the loop, with the whole answer.

        Returns:
            How many bytes the request has; 0 if it has not arrived whole.

        Raises:
            NotPlain: it is Flask's to answer.
        """
        head = read_head(data)
        if head is None or len(data) < head.size + head.length:
            return 0
        new, limits = self._new_job(head, data[head.size : head.size + head.length])
        trip = Trip(self, new, head.wait_s, answer, limits)
        if head.wait_s:
            self._house.waiting.add(new.id, trip)
            self._waiting.append((time.monotonic() + self._house.waiting.patience_s, trip))
        self._house.front.hand_in(Ticket(new, None, trip.told, waits=bool(head.wait_s)))
        return head.size + head.length

    def _new_job(self, head: Head, body: bytes) -> tuple[NewJob, str]:
        house, digest = self._house, hash_of(head.token)
        caller = house.verified.at_hand(digest)
        if caller is None or not includes(caller.role, "client") or not house.front.has_room():
            raise NotPlain
        try:
            asked = _body.decode(body)
            known = house.models.at_hand(asked.model)
            if known is None:
                raise NotPlain
            packed = pack_instances(known.problem, asked.instances)
        except MISFITS:
            raise NotPlain from None
        payload = packed.encode()
        if packed.count > ROWS_AT_ONCE or len(payload) > INLINE_BYTES:
            raise NotPlain
        if house.rates is not None and house.rates.take(caller.token_id):  # last: who gets this far has not been counted
            raise NotPlain
        self._used[digest, asked.model] = time.monotonic()
        job_id, most = new_id(house.clock()), house.settings.max_attempts
        request_id = head.request_id or job_id.replace("-", "")  # it has to differ from all others, and so does the job's
        new = NewJob(job_id, "predict", asked.model, PREDICT, most, payload, request_id=request_id)
        told = house.rates.headers(caller.token_id) if house.rates is not None else ()
        return new, "".join(f"{name}: {value}\r\n" for name, value in told)

    # ---- from other threads

    def arrive(self, trip: Trip, news: object) -> None:
        """Something is known of a request: None (it is accepted), the job at its end, a fault, or that the process stops."""
        self._arrived.append((trip, news))
        if not self._called:
            self._called = True
            self._soon(self.deliver)

    # ---- on the loop

    def deliver(self) -> None:
        """Answer what can be answered."""
        self._called = False  # before the look: whatever arrives after it calls again
        while self._arrived:
            trip, news = self._arrived.popleft()
            if trip.answered:
                continue
            if news is None:
                self._accepted(trip, queued_view(trip.new))
            elif isinstance(news, Job) and news.status in TERMINAL:
                self._end(trip, 200, job_view(news))
            elif isinstance(news, Job):
                self._accepted(trip, job_view(news))
            elif isinstance(news, Exception):
                self._refuse(trip, refusal_of(news))
            else:
                self._set_aside(trip)

    def due_s(self) -> float:
        """Seconds until `turn` is wanted."""
        next_wait = self._waiting[0][0] if self._waiting else math.inf
        return max(0.0, min(next_wait, self._renew_at if self._used else math.inf) - time.monotonic())

    def turn(self) -> None:
        """Give waits that take long to threads, and have what is known renewed before it is too old to be used."""
        now = time.monotonic()
        while self._waiting and (self._waiting[0][0] <= now or self._waiting[0][1].answered):
            trip = self._waiting.popleft()[1]
            if not trip.answered:
                self._set_aside(trip)
        if self._used and now >= self._renew_at:
            self._used = {key: at for key, at in self._used.items() if now - at < REMEMBER_S}
            self._renew_at = math.inf  # until this is done
            self._aside(self._renew, set(self._used))

    def _set_aside(self, trip: Trip) -> None:
        if trip.recorded:
            self._aside(self._wait_on, trip)
        else:  # the database hangs: there is nothing to look at, and nothing may be promised
            self._waiting.append((time.monotonic() + self._house.waiting.patience_s, trip))

    def _accepted(self, trip: Trip, view: JobView) -> None:
        self._end(trip, 202, view, f"Location: {view.links.self}\r\nRetry-After: 1\r\n")

    def _end(self, trip: Trip, status: int, view: JobView, more: str = "") -> None:
        self._answer(trip, status, JSON, msgspec.json.encode(view), more)

    def _refuse(self, trip: Trip, refusal: Refused) -> None:
        more = "".join(f"{name}: {value}\r\n" for name, value in refusal.headers.items())
        self._answer(trip, refusal.status, PROBLEM, problem_json(refusal, trip.request_id), more)

    def _answer(self, trip: Trip, status: int, media: str, body: bytes, more: str) -> None:
        trip.answered = True
        if trip.wait_s:
            self._house.waiting.drop(trip.new.id, trip)
        self._house.metrics.observe("POST", ROUTE, status, time.perf_counter() - trip.began)
        date, phrase = _http_date(int(time.time())), HTTPStatus(status).phrase.upper()
        head = (
            f"HTTP/1.1 {status} {phrase}\r\nServer: gunicorn\r\nDate: {date}\r\nConnection: keep-alive\r\n{more}{trip.limits}"
            f"Content-Type: {media}\r\nContent-Length: {len(body)}\r\n{_ALWAYS}X-Request-ID: {trip.request_id}\r\n\r\n"
        )
        trip.answer(head.encode("latin-1") + body)

    # ---- in threads

    def _renew(self, used: set[tuple[str, str]]) -> None:
        house = self._house
        try:
            house.front.look()
            for model in {model for _, model in used}:
                house.models.read(model)
            for digest in {digest for digest, _ in used}:
                if house.verified.at_hand(digest) is not None:
                    house.verified.look(digest)
        except (*FAULTS, OSError, Refused) as fault:  # too old soon: the next request goes down the other lane and hears of it
            log.debug("what the express lane knows could not be renewed: %s", type(fault).__name__)
        finally:
            self._renew_at = time.monotonic() + FRESH_S / 2

    def _wait_on(self, trip: Trip) -> None:
        """The rest of a wait, in a thread as for any other route; a 202 at its end is made durable first."""
        waiting, job = self._house.waiting, None
        try:
            if waiting.enter():
                try:
                    with waiting.watching(trip.new.id) as watch:
                        rest = trip.wait_s - (time.perf_counter() - trip.began)
                        job = watch.until_end(rest)
                finally:
                    waiting.leave()
            if job is None or job.status not in TERMINAL:
                self._house.front.harden()  # the front has recorded it (see `_set_aside`)
            self.arrive(trip, job)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the client is to hear of it
            self.arrive(trip, fault)


@lru_cache(maxsize=1)
def _http_date(now: int) -> str:
    return formatdate(now, usegmt=True)
