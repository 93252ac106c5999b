"""Request bodies: read within their limit, decoded strictly, and streamed to a file where they are a table."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
from flask import request
from gunicorn.http.body import Body as Received
from gunicorn.http.body import LengthReader
from pydantic import BaseModel, ConfigDict

from api.errors import Fault, Refused, log, unfit
from api.house import house

JSON, CSV = "application/json", "text/csv"
PARQUET, ARROW = "application/vnd.apache.parquet", "application/vnd.apache.arrow.stream"
FORM = "multipart/form-data"
CHUNK = 1 << 20
DRAIN_S, DRAIN_BYTES = 5.0, 64 << 20  # how much of a refused body is read and dropped: seconds, and bytes above the limit
SILENT_S = 1  # whoever was refused and sends nothing for so long is not listened to any more
B = TypeVar("B", bound="Body")


class Body(BaseModel):
    """A small JSON body: no conversions, no unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid")


def media_type(*allowed: str) -> str:
    """The request's media type, without parameters.

    Raises:
        Refused: 415, it is not an allowed one, or the body has a Content-Encoding.
    """
    if "Content-Encoding" in request.headers:
        raise Refused(415, "Content-Encoding is not supported: send the body as it is.")
    if request.mimetype not in allowed:
        raise Refused(415, f"Content-Type: got {request.mimetype or 'none'}, expected {' or '.join(allowed)}.")
    return request.mimetype


def limit() -> int:
    """The largest body, in bytes."""
    return house().settings.max_body_mb << 20


def announced_length() -> int | None:
    """The body's length, if the client announced it; 413 if that is too large."""
    if request.content_length is not None and request.content_length > limit():
        raise too_large()
    return request.content_length


def chunks() -> Iterator[bytes | memoryview]:
    """The body as it arrives, announced or chunked; a chunk holds until the next one is asked for.

    Raises:
        Refused: 413 when it is larger than MAX_BODY_MB; 400 when it ends early.
    """
    announced, most, size = announced_length(), limit(), 0
    for chunk in _arriving():
        size += len(chunk)
        if size > most:
            raise too_large()
        yield chunk
    if announced is not None and size < announced:
        raise Refused(400, f"The body ended after {size} of {announced} bytes.")


def _arriving() -> Iterator[bytes | memoryview]:
    body = request.environ["wsgi.input"]
    if isinstance(body, Received) and isinstance(body.reader, LengthReader):
        yield from _from_socket(body.reader)
        return
    while chunk := request.stream.read(CHUNK):
        yield chunk


def _from_socket(reader: Any) -> Iterator[bytes | memoryview]:
    """A body of known length, straight from the socket: gunicorn would pass it on in pieces of 1,024 bytes, at 5 ms a MB.

    Args:
        reader: gunicorn's; it is told what was taken, for it must know where the next request begins.
    """
    ahead = reader.unreader.take_buffered()
    reader.unreader.unread(ahead[reader.length :])
    ahead = ahead[: reader.length]
    reader.length -= len(ahead)
    if ahead:
        yield ahead
    space = memoryview(bytearray(min(CHUNK, reader.length)))
    while reader.length and (count := reader.unreader.sock.recv_into(space[: reader.length])):
        reader.length -= count
        yield space[:count]


def too_large() -> Refused:
    """413."""
    return Refused(413, f"The body is larger than {house().settings.max_body_mb} MiB (MAX_BODY_MB).")


def drain() -> None:
    """Read and drop what is left of the body, within bounds.

    Its sender then hears the refusal instead of a reset, and the connection serves on: gunicorn closes it, having
    said that it stays open, where more than a little is left.
    """
    end, rest, body = time.monotonic() + DRAIN_S, limit() + DRAIN_BYTES, request.environ["wsgi.input"]
    if "gunicorn.socket" in request.environ:
        request.environ["gunicorn.socket"].settimeout(SILENT_S)
    try:
        while rest > 0 and time.monotonic() < end and (chunk := body.read(CHUNK)):
            rest -= len(chunk)
    except OSError as fault:  # slow or gone: the refusal is sent all the same
        log.debug("the rest of a refused body did not come: %s", type(fault).__name__)


def read() -> bytes:
    """The whole body (see `chunks`)."""
    whole = bytearray()
    for chunk in chunks():
        whole += chunk
    return bytes(whole)


def read_nothing() -> bytes:
    """The body of a request that needs none: empty, or an empty JSON object.

    Raises:
        Refused: 422, there is more in it.
    """
    body = read()
    if body:
        media_type(JSON)
        if decode(body) not in (None, {}):
            raise unfit([Fault((), "expected no body")])
    return body


def decode(data: bytes | msgspec.Raw, type_: Any = Any, *place: str) -> Any:
    """Strict JSON as `type_`.

    Args:
        place: where in the body the data stands, for the faults.

    Raises:
        Refused: 400 if it is not JSON, 422 if it is something else than `type_`.
    """
    try:
        return msgspec.json.decode(data, type=type_)
    except msgspec.ValidationError as wrong:
        raise unfit([_fault(wrong, place)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise Refused(400, f"The body is not JSON: {wrong}.") from None


def convert(value: object, type_: Any, *place: str) -> Any:
    """Decoded JSON as `type_`; 422 if it is something else."""
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as wrong:
        raise unfit([_fault(wrong, place)]) from None


_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


def _fault(wrong: msgspec.ValidationError, place: tuple[str, ...]) -> Fault:
    """msgspec names the place in its text: Expected `str`, got `int` - at `$.labels[0].prediction_id`."""
    msg, _, path = str(wrong).partition(" - at `$")
    steps = [name or int(number) for name, number in _STEP.findall(path)]
    return Fault((*place, *steps), msg.replace("`", ""))


def small(model: type[B], data: bytes) -> B:
    """The JSON body as a `Body`; pydantic's ValidationError becomes a 422."""
    return model.model_validate(decode(data))
