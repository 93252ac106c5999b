"""Refusals as RFC 9457 problems: everything that is not the answer asked for leaves through here."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus

import msgspec
from flask import Flask, Response
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from api.envelope import current_request_id
from problems.rows import RowError
from storage.artifacts import MACHINE_FAULTS
from storage.database import FAULTS
from storage.pages import BrokenCursor

PROBLEM = "application/problem+json"
DATABASE_RETRY_S = 2
DISK_RETRY_S = 30
log = logging.getLogger("api")


class Fault(msgspec.Struct):
    """One thing wrong with the input: where, and what was expected."""

    loc: tuple[str | int, ...]
    msg: str


class Problem(msgspec.Struct, omit_defaults=True):
    """The body of every refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: Sequence[Fault] = ()


class Refused(Exception):
    """A request that is answered by a problem.

    Args:
        status: the HTTP status, 400 to 599.
        detail: one sentence for a person: what, got, expected, what to do.
        errors: each fault of the input, for a 422.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, detail: str, errors: Iterable[Fault] = (), headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors, self.headers = status, detail, list(errors), dict(headers or {})


def not_found(what: str) -> Refused:
    """404: there is no such thing."""
    return Refused(404, f"{what} does not exist.")


def unprocessable(*faults: tuple[tuple[str | int, ...], str]) -> Refused:
    """422 with its faults, each (loc, msg)."""
    return unfit([Fault(loc, msg) for loc, msg in faults])


def unfit(faults: Sequence[Fault]) -> Refused:
    """422 with its faults."""
    first = faults[0]
    place = ".".join(map(str, first.loc))
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return Refused(422, f"{place}: {first.msg}{more}." if place else f"{first.msg}{more}.", faults)


def unfit_rows(errors: Sequence[RowError]) -> Refused:
    """422 for rows that the model cannot take."""
    return unfit([Fault(error.loc, error.msg) for error in errors])


def busy(status: int, detail: str, retry_after_s: float) -> Refused:
    """429 or 503 with `Retry-After`, whole seconds."""
    return Refused(status, detail, headers={"Retry-After": str(max(1, round(retry_after_s)))})


def problem_json(refusal: Refused, request_id: str) -> bytes:
    """The refusal as the body of its answer."""
    title = HTTPStatus(refusal.status).phrase
    return msgspec.json.encode(Problem("about:blank", title, refusal.status, refusal.detail, request_id, tuple(refusal.errors)))


def answer(refusal: Refused) -> Response:
    """The refusal as a response."""
    body = problem_json(refusal, current_request_id())
    return Response(body, refusal.status, refusal.headers, content_type=PROBLEM)


def install(app: Flask) -> None:
    """Make every exception of a request end as a problem."""
    app.register_error_handler(ValidationError, _invalid)
    app.register_error_handler(BrokenCursor, _broken_cursor)
    app.register_error_handler(HTTPException, _of_flask)
    app.register_error_handler(BlockingIOError, _too_slow)
    app.register_error_handler(Exception, _of_fault)


def _broken_cursor(wrong: BrokenCursor) -> Response:
    return answer(unprocessable((("cursor",), str(wrong).removeprefix("cursor: "))))


def _invalid(wrong: ValidationError) -> Response:
    return answer(unfit([Fault(tuple(error["loc"]), error["msg"]) for error in wrong.errors(include_url=False)]))


_SAID = {
    404: "There is nothing at this path. /docs lists what there is.",
    405: "This path does not know this method; the header Allow lists those it does.",
    413: "The body is too large.",
}


def _of_flask(wrong: HTTPException) -> Response:
    status = wrong.code if wrong.code is not None and wrong.code >= 400 else 500
    headers = {name: value for name, value in wrong.get_headers() if name in {"Allow", "Retry-After"}}
    return answer(Refused(status, _SAID.get(status, wrong.description or HTTPStatus(status).phrase), headers=headers))


def _too_slow(_: BlockingIOError) -> Response:
    return answer(Refused(408, "The body came too slowly."))


def refusal_of(fault: Exception) -> Refused:
    """How a request is refused that met this; what is nobody's intent goes into the log."""
    if isinstance(fault, Refused):
        return fault
    name = type(fault).__name__
    if isinstance(fault, FAULTS):
        log.error("the database does not answer: %s", name)
        return busy(503, "The database does not answer; nothing was accepted. Try again.", DATABASE_RETRY_S)
    if isinstance(fault, OSError) and fault.errno in MACHINE_FAULTS:
        log.error("the machine cannot take it: %s", fault.strerror)
        full = fault.errno in {errno.ENOSPC, errno.EDQUOT}
        return busy(503, f"The disk {'is full' if full else 'cannot be written'}; nothing was accepted.", DISK_RETRY_S)
    log.error("unforeseen: %s", name, exc_info=fault)
    return Refused(500, "Something went wrong here, not in the request. The log has it under this request_id.")


def _of_fault(fault: Exception) -> Response:
    return answer(refusal_of(fault))
