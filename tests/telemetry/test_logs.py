"""The log: one line an event, secrets masked, ids bound, other libraries' loggers led into it."""

from __future__ import annotations

import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger

from telemetry.logs import bound, intercept, masker, setup

SECRET = 'p"ss w\\rd/ü'
WEBHOOK = "https://discord.com/api/webhooks/123/aBc-d_E"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave logging as it was found: setting it up is for a whole process."""
    handlers, level = logging.root.handlers, logging.root.level
    hooks = sys.excepthook, threading.excepthook
    yield
    logger.remove()
    logging.captureWarnings(False)
    logging.root.handlers, logging.root.level = handlers, level
    sys.excepthook, threading.excepthook = hooks


def events(captured: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What was logged as JSON, a dict a line."""
    return [json.loads(line) for line in captured.readouterr().err.splitlines()]


def test_text_is_one_line_with_time_level_place_and_ids(capsys: pytest.CaptureFixture[str]) -> None:
    """The form that people read."""
    setup("INFO", "text")
    with bound(request_id="r-1", job_id="j-2"):
        logger.bind(rows=3).info("stored {}", "it")
    line = capsys.readouterr().err
    time, rest = line.split(" ", 1)
    assert rest == "INFO    tests.telemetry.test_logs: stored it request_id=r-1 job_id=j-2 rows=3\n"
    assert len(time) == len("2026-11-21T06:30:00.123Z")
    assert time.endswith("Z")


def test_json_has_the_agreed_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """The form that machines read; what JSON does not know becomes text."""
    setup("INFO", "json")
    with bound(job_id="j-2"):
        logger.bind(rows=3, kind=int).warning("stored")
    [event] = events(capsys)
    assert event.pop("time").endswith("Z")
    assert event == {
        "level": "WARNING",
        "message": "stored",
        "module": "tests.telemetry.test_logs",
        "request_id": None,
        "job_id": "j-2",
        "extra": {"rows": 3, "kind": "<class 'int'>"},
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_one_event_is_one_line(form: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Line breaks of every kind and terminal escapes, in the text or in an id, start no line of their own."""
    setup("INFO", form)
    with bound(request_id="a\nERROR forged"):
        logger.info("one\ntwo\r\nthree\x85four\u2028five\x1b[31m")
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "\x1b" not in said
    assert "one\\ntwo" in said


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_stays_on_its_line_and_shows_no_values(form: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """An exception is told with its place, without the variables around it, and masked."""
    setup("INFO", form, [SECRET])
    hidden = "-".join(("a", "local", "value"))
    try:
        raise ValueError(SECRET)
    except ValueError:
        logger.exception("it failed")
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "ValueError: ***" in said
    assert "test_logs.py" in said
    assert hidden not in said


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_secret_is_masked_wherever_it_stands(form: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """In the message, its arguments, bound values, ids, other loggers' lines; also escaped or URL-quoted."""
    setup("INFO", form, [SECRET, "", "ab"])
    with bound(request_id=SECRET):
        logger.bind(key=SECRET, inside={"deep": [SECRET]}).info("raw {} repr {!r} ab", SECRET, SECRET)
    logging.getLogger("some.library").error("quoted %s", "p%22ss%20w%5Crd%2F%C3%BC")
    first, second = capsys.readouterr().err.splitlines()
    assert first.count("***") == 5
    assert "ss w" not in first
    assert " ab" in first
    assert "quoted ***" in second


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("Authorization: Bearer abc.DEF-1_2=", "Authorization: Bearer ***"),
        ("redis://:hunter22@127.0.0.1:6379/0", "redis://***@127.0.0.1:6379/0"),
        ("postgresql+psycopg://me:pw@db/x", "postgresql+psycopg://***@db/x"),
        (f"POST {WEBHOOK} failed", "POST https://discord.com/api/webhooks/*** failed"),
        ("http://127.0.0.1:8000/a@b", "http://127.0.0.1:8000/a@b"),
        ("nothing secret", "nothing secret"),
    ],
)
def test_what_looks_like_a_secret_is_masked_too(line: str, masked: str) -> None:
    """Bearer tokens, passwords in URLs and webhooks need not be known beforehand."""
    assert masker([])(line) == masked


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    """A secret that begins like another leaves no rest behind."""
    assert masker(["token", "token-and-more"])("token-and-more token") == "*** ***"


def test_standard_loggers_end_up_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Under their own names and levels, once, even where a library had put up its own handler."""
    library = logging.getLogger("celery.worker")
    library.addHandler(logging.StreamHandler(sys.stderr))
    library.propagate = False
    setup("INFO", "json")
    library.warning("lost %s of {%d}", "one", 2)
    logging.getLogger("celery.worker").debug("too quiet")
    [event] = events(capsys)
    assert (event["module"], event["level"], event["message"]) == (
        "celery.worker",
        "WARNING",
        "lost one of {2}",
    )


def test_a_library_that_sets_up_logging_later_is_caught_again(capsys: pytest.CaptureFixture[str]) -> None:
    """As gunicorn does when it starts."""
    setup("INFO", "json")
    later = logging.getLogger("gunicorn.error")
    later.addHandler(logging.StreamHandler(sys.stderr))
    later.propagate = False
    intercept()
    later.info("listening")
    [event] = events(capsys)
    assert (event["module"], event["message"]) == ("gunicorn.error", "listening")


def test_talkative_libraries_are_heard_from_warning_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Even at DEBUG, httpx's and Alembic's lines of progress are left out."""
    setup("DEBUG", "json")
    logging.getLogger("httpx").info("HTTP Request: GET …")
    logging.getLogger("alembic.runtime.migration").info("Context impl SQLiteImpl.")
    logging.getLogger("alembic").warning("heard")
    assert [event["message"] for event in events(capsys)] == ["heard"]


def test_python_warnings_are_events(capsys: pytest.CaptureFixture[str]) -> None:
    """A warning is one line, as the others are."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        setup("INFO", "json")
        warnings.warn("old\nways", UserWarning, stacklevel=1)
        logging.captureWarnings(False)
    [event] = events(capsys)
    assert event["module"] == "py.warnings"
    assert "UserWarning: old\nways" in event["message"]


def test_the_last_words_of_a_process_and_of_a_thread_are_masked(capsys: pytest.CaptureFixture[str]) -> None:
    """An exception that nobody caught is an event like any other."""
    setup("INFO", "json", [SECRET])

    def fail() -> None:
        raise ValueError(SECRET)

    thread = threading.Thread(target=fail, name="doorbell")
    thread.start()
    thread.join()
    try:
        fail()
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    in_thread, at_end = events(capsys)
    assert "doorbell" in in_thread["message"]
    assert (in_thread["level"], at_end["level"]) == ("ERROR", "CRITICAL")
    assert all(event["exception"].endswith("ValueError: ***") for event in (in_thread, at_end))


def test_ids_are_bound_inside_only_and_may_be_nested(capsys: pytest.CaptureFixture[str]) -> None:
    """An inner job keeps its request's id, and both are gone outside, also after an error."""
    setup("INFO", "json")

    def work() -> None:
        with bound(request_id="r"):
            with bound(job_id="j"):
                logger.info("inside")
            logger.info("between")
            raise KeyError

    with pytest.raises(KeyError):
        work()
    logger.info("outside")
    seen = [(event["request_id"], event["job_id"]) for event in events(capsys)]
    assert seen == [("r", "j"), ("r", None), (None, None)]


def test_setting_up_twice_logs_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The second set-up replaces the first."""
    setup("DEBUG", "text")
    setup("WARNING", "json")
    logger.info("dropped")
    logger.warning("kept")
    assert [event["message"] for event in events(capsys)] == ["kept"]


def test_a_replaced_stderr_does_not_send_the_log_round_in_a_circle(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery replaces sys.stderr by a stream that logs; lines still go where they went at set-up."""
    setup("INFO", "json")

    class Logs:
        def write(self, text: str) -> None:
            logging.getLogger("celery.redirected").warning(text)

    original = sys.stderr
    monkeypatch.setattr(sys, "stderr", Logs())
    logger.info("straight")
    sys.stderr.write("caught")
    monkeypatch.setattr(sys, "stderr", original)
    assert [event["message"] for event in events(capsys)] == ["straight", "caught"]
