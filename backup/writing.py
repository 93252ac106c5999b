"""Make a backup of a stack that goes on working.

What happens in which order is all there is to its consistency:

1. Every artifact gets a second name (a hard link) in a folder of ours. Artifacts are written whole and then renamed, and
   never change, so a link is a copy; and what retention deletes from now on stays readable for us.
2. The ledger, at one moment. A row is committed after the file that it names, so each file it refers to has been written.
3. Artifacts again: those that came between 1 and 2. So whatever the snapshot names is linked, unless it both came and went
   in between: then all three are done again.
4. MLflow's database: after the ledger, for a version is registered there before the ledger knows it. What MLflow has
   beyond the snapshot is a training that will be carried out again; it finds its version by the job's id.
5. MLflow's files: after its database, for the same reason. Those of a version that is pruned meanwhile are left out: where the
   ledger's snapshot does not say so yet, the sweeper prunes it again after a restore.
"""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from pydantic import SecretStr

from backup import archive
from backup.alone import alone
from backup.archive import Manifest
from settings import IN_FILES, VERSION, Settings
from storage import snapshot
from storage.artifacts import DRAFT
from storage.snapshot import Snapshot

ROUNDS = 3


def write(settings: Settings, out: IO[bytes], models: Path | None) -> Manifest:
    """Write a backup of this stack into a stream.

    Args:
        models: the folder of MLflow's store (mlflow.db, artifacts); None leaves it out.

    Raises:
        Refused: another backup is under way.
        LookupError: there is nothing to back up.
        DBAPIError, sqlite3.Error, OSError: a store cannot be read, or the archive not be written.
    """
    staging = settings.data_dir.resolve() / "tmp" / "backup"
    with alone(staging.with_suffix(".lock"), f"Another backup of {settings.data_dir} is under way: wait for it."):
        if staging.exists():  # of one that was killed
            shutil.rmtree(staging)
        staging.mkdir(mode=0o700)
        try:
            taken = _take(settings, staging)
            if models is not None:
                snapshot.copy_sqlite(models / "mlflow.db", staging / "mlflow.db")
            return _pack(settings, staging, out, taken, models)
        finally:
            shutil.rmtree(staging)


def _take(settings: Settings, staging: Path) -> tuple[Snapshot, list[str]]:
    """The ledger in `staging`, and every artifact that it names below `staging`/artifacts; and which of these are nowhere."""
    artifacts, linked = settings.data_dir.resolve() / "artifacts", staging / "artifacts"
    for _ in range(ROUNDS):
        for left in (staging / snapshot.SQLITE_FILE, staging / snapshot.COPIES):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
        _link(artifacts, linked)
        taken = snapshot.take(settings.ledger_url, staging)
        _link(artifacts, linked)
        missing = sorted(name for name in taken.artifacts if not (linked / name).exists())
        if not missing:
            break
    return taken, missing


def _link(source: Path, to: Path) -> None:
    """Give every file below `source` a second name below `to`, the newest of those with one name."""
    for folder, _, names in os.walk(source):
        there = to / Path(folder).relative_to(source)
        there.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in names:
            if name.endswith(DRAFT):
                continue
            with suppress(FileNotFoundError):  # it has gone meanwhile
                _link_one(Path(folder, name), there / name)


def _link_one(file: Path, link: Path) -> None:
    if link.exists():
        if link.samefile(file):
            return
        link.unlink()
    link.hardlink_to(file)


def _pack(settings: Settings, staging: Path, out: IO[bytes], taken: tuple[Snapshot, list[str]], models: Path | None) -> Manifest:
    found, missing = taken
    with archive.writing(out) as into:
        into.add_folder("artifacts", staging / "artifacts")
        for name in (snapshot.SQLITE_FILE, "mlflow.db"):
            if (staging / name).exists():
                into.add(name, staging / name)
        if (staging / snapshot.COPIES).exists():
            into.add_folder(snapshot.COPIES, staging / snapshot.COPIES)
        if models is not None:
            into.add_folder("mlflow", models / "artifacts")
        manifest = Manifest(
            format=archive.FORMAT,
            release=VERSION,
            ledger=found.kind,
            revision=found.revision,
            made_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            models_at="" if models is None else (models.resolve() / "artifacts").as_uri(),
            settings=_without_secrets(settings),
            missing=missing,
            files=into.files,
        )
        into.end(manifest)
    return manifest


def _without_secrets(settings: Settings) -> dict[str, str]:
    given = {name: getattr(settings, name) for name in type(settings).model_fields if name not in IN_FILES}
    return {name.upper(): str(value) for name, value in given.items() if not isinstance(value, SecretStr) and value is not None}


def to_file(settings: Settings, file: Path, models: Path | None) -> Manifest:
    """As `write`, into a file that only its owner can read: whole, synced, or not there at all.

    Raises:
        FileExistsError: it is there already.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if file.exists():
        raise FileExistsError(f"{file} is there already: expected a new name.")
    draft = file.with_name(f"{file.name}{DRAFT}")
    try:
        with draft.open("xb") as out:
            manifest = write(settings, out, models)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return manifest


def to_stdout(settings: Settings, models: Path | None) -> Manifest:
    """As `write`, into the standard output."""
    manifest = write(settings, sys.stdout.buffer, models)
    sys.stdout.buffer.flush()
    return manifest
