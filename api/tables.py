"""A table as a request's body: streamed to a file as it came, never parsed here; a worker's child reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

import msgspec
from flask import Response

from api.accepting import accept, digest_of, files_of, new_job
from api.asking import Asked
from api.errors import Refused
from api.house import house
from jobs.kinds import BULK, Kind
from storage.ids import new_id


def accept_table(
    kind: Kind,
    model: str,
    format_: str,
    payload: Mapping[str, object],
    chunks: Iterable[bytes | memoryview],
    asked: Asked,
    salt: bytes = b"",
) -> Response:
    """Store the table under the job's id and accept the job.

    Args:
        format_: csv, parquet or arrow: how the artifact's name ends, and how the worker reads it.
        payload: what the worker is told beside the file.
        salt: what else of the request the idempotency key is bound to.

    Raises:
        Refused: 400, the table has no bytes.
    """
    artifacts = house().artifacts
    job_id = new_id(house().clock())
    name, body = f"bodies/{job_id}/table.{format_}", hashlib.sha256()
    with files_of(job_id):
        if artifacts.write(name, _hashed(chunks, body) if asked.key else chunks) == 0:
            raise Refused(400, "The body is empty: expected a table.")
        new = new_job(kind, model, msgspec.json.encode(payload), name, BULK, job_id)
        return accept(new, asked, digest_of(salt, body.digest()))


def _hashed(chunks: Iterable[bytes | memoryview], digest: hashlib._Hash) -> Iterator[bytes | memoryview]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
