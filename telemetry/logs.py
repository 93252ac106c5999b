"""One log for everything: loguru to stderr, one event one line, secrets masked, the request's and job's ids.

The standard library's loggers (Celery, MLflow, Werkzeug, gunicorn, SQLAlchemy, Alembic) end up here too.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TextIO
from urllib.parse import quote

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message, Record

Form = Callable[["Record"], str]
MASK = "***"
SHORTEST_SECRET = 4  # characters; masking shorter ones would hide ordinary words
# Talkative at INFO: heard from WARNING on.
NOISY = ("alembic", "httpcore", "httpx", "sqlalchemy", "urllib3", "werkzeug")
# Secrets that no list can know: other people's tokens, passwords in URLs, webhooks.
_SHAPES = re.compile(r"(?<=Bearer )[\w.~+/=-]+|(?<=://)[^\s/@:'\"]*:[^\s/@]+(?=@)|(?<=/api/webhooks/)[\w./-]+", re.IGNORECASE)
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_job_id: ContextVar[str | None] = ContextVar("job_id", default=None)


def setup(
    level: str,
    format: Literal["text", "json"],  # noqa: A002 - loguru's and LOG_FORMAT's own word
    secrets: Iterable[str] = (),
) -> None:
    """Send this process's log to stderr, as it is now; calling it again replaces what was set up.

    Args:
        level: DEBUG, INFO, WARNING or ERROR; what is below is dropped.
        format: `text` for people, `json` for machines; either way one event is one line.
        secrets: texts that no line may hold, each masked as `***`, also URL-quoted or escaped.
    """
    form = {"text": _text, "json": _json}[format]
    logger.remove()
    sink = _sink(sys.stderr, form, masker(secrets))
    logger.add(sink, level=level, format="{message}", backtrace=False, diagnose=False)
    logging.root.setLevel(level)
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.root.level))
    intercept()
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def handler(log_level: str, log_format: Literal["text", "json"]) -> logging.Handler:
    """The way here for a program whose log is set up by a file of `logging.config`: a handler's `()`. It masks shapes only."""
    setup(log_level, log_format)
    return _Intercept()


def intercept() -> None:
    """Lead every standard logger here; again after a library (gunicorn) has put up handlers of its own."""
    logging.root.handlers = [_Intercept()]
    for name in list(logging.root.manager.loggerDict):
        known = logging.getLogger(name)
        known.handlers = []
        known.propagate = True


@contextmanager
def bound(*, request_id: str | None = None, job_id: str | None = None) -> Iterator[None]:
    """Put these ids on every line logged inside, in this thread; None leaves what is bound already."""
    given = ((_request_id, request_id), (_job_id, job_id))
    tokens = [(var, var.set(value)) for var, value in given if value is not None]
    try:
        yield
    finally:
        for var, token in tokens:
            var.reset(token)


def masker(secrets: Iterable[str]) -> Callable[[str], str]:
    """A function that puts `***` for each secret, in any of the forms in which a log line could show it."""
    texts = {secret.strip() for secret in secrets}
    forms = {form for text in texts if len(text) >= SHORTEST_SECRET for form in _forms(text)}
    longest_first = sorted(forms, key=len, reverse=True)
    listed = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
    return lambda line: _SHAPES.sub(MASK, listed.sub(MASK, line))


def _forms(secret: str) -> set[str]:
    """A secret as it is, in a Python repr, quoted for a URL; and each of these in JSON."""
    said = {secret, repr(secret)[1:-1], quote(secret, safe=""), quote(secret)}
    return said | {json.dumps(form)[1:-1] for form in said}


def _sink(stream: TextIO, form: Form, mask: Callable[[str], str]) -> Callable[[Message], None]:
    """Writes to the stream of set-up time: Celery's later `sys.stderr` logs, which would go in a circle."""

    def write(message: Message) -> None:
        stream.write(mask(form(message.record)) + "\n")
        stream.flush()

    return write


def _text(record: Record) -> str:
    ids = {"request_id": _request_id.get(), "job_id": _job_id.get()}
    pairs = (f"{key}={value}" for key, value in {**ids, **record["extra"]}.items() if value is not None)
    said = f"{record['level'].name:<7} {record['name']}: {record['message']}"
    line = " ".join((_time(record), said, *pairs))
    trace = _trace(record)
    return _BREAKS.sub(_escaped, f"{line} | {trace}" if trace else line)


def _json(record: Record) -> str:
    event = {
        "time": _time(record),
        "level": record["level"].name,
        "message": record["message"],
        "module": record["name"],
        "request_id": _request_id.get(),
        "job_id": _job_id.get(),
        "extra": record["extra"],
    }
    trace = _trace(record)
    return json.dumps({**event, "exception": trace} if trace else event, default=str)


def _time(record: Record) -> str:
    return record["time"].astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _trace(record: Record) -> str:
    """The traceback without the values of variables; empty if there is none."""
    caught = record["exception"]
    if caught is None or caught.type is None:
        return ""
    return "".join(traceback.format_exception(caught.type, caught.value, caught.traceback)).rstrip()


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


class _Intercept(logging.Handler):
    """Hands a standard record to loguru, under the name of its own logger."""

    def emit(self, record: logging.LogRecord) -> None:
        def named(event: Any) -> None:
            event["name"] = record.name

        level = record.levelname if record.levelname in _LEVELS else record.levelno
        logger.patch(named).opt(exception=record.exc_info).log(level, _said(record))


_LEVELS = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}


def _said(record: logging.LogRecord) -> str:
    text = record.getMessage()
    return f"{text}\n{record.stack_info}" if record.stack_info else text


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The last words of a process, masked like all others."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logger.opt(exception=(kind, error, trace)).critical("ended by an uncaught exception")


def _uncaught_in_thread(end: threading.ExceptHookArgs) -> None:
    name = end.thread.name if end.thread else "?"
    if end.exc_value is not None and not issubclass(end.exc_type, SystemExit):
        logger.opt(exception=end.exc_value).error("thread {} ended by an uncaught exception", name)
