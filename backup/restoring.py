"""Put a backup in place: read and verified as a whole first, then moved; the ledger, without which there is no stack, last."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import IO

from backup import archive
from backup.alone import Refused, alone
from backup.archive import Manifest
from settings import Settings
from storage import snapshot
from storage.migrate import newest

BROKEN_OFF = ("broker", "beat")  # below DATA_DIR: what is rung and ticked from the ledger again
OF_MODELS = (  # where MLflow keeps the addresses of files: with them the store can move to another folder
    *(("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location")),
    *(("model_versions", "source"), ("model_versions", "storage_location")),
)


def restore(settings: Settings, source: IO[bytes], models: Path | None, replace: bool) -> Manifest:
    """Make the stack of these settings the one in the archive.

    Args:
        models: the folder of MLflow's store; None leaves MLflow alone.
        replace: what is there now is deleted; without it, nothing may be there.

    Raises:
        Refused, InUse: something is there, runs, or was made by a newer release.
        Damaged: the archive is not what was written.
        DBAPIError, OSError: a store cannot be written. Restore again, with `replace`.
    """
    data = settings.data_dir.resolve()
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with alone(data / "lock", f"A stack runs on {data}: stop it first."):
        if not replace:
            _refuse_what_is_there(settings, data, models)
        staging = data / "tmp" / f"restore-{os.getpid()}-{time.time_ns()}"
        staging.mkdir(parents=True, mode=0o700)
        try:
            manifest = archive.read(source, staging)
            _refuse_what_does_not_fit(manifest, settings)
            snapshot.refuse_others(settings.ledger_url)
            _place(settings, data, staging, manifest, models)
        finally:
            shutil.rmtree(staging)
    return manifest


def _refuse_what_is_there(settings: Settings, data: Path, models: Path | None) -> None:
    there = {"a ledger": snapshot.is_there(settings.ledger_url), "artifacts": _holds(data / "artifacts")}
    there["MLflow's store"] = models is not None and (models / "mlflow.db").exists()
    found = [name for name, is_there in there.items() if is_there]
    if found:
        raise Refused(f"There are {' and '.join(found)} already: expected an empty place, or --replace, which deletes them.")


def _holds(folder: Path) -> bool:
    return folder.exists() and any(path.is_file() for path in folder.rglob("*"))


def _refuse_what_does_not_fit(manifest: Manifest, settings: Settings) -> None:
    kind = snapshot.kind_of(settings.ledger_url)
    if manifest.ledger != kind:
        raise Refused(f"The archive holds a ledger of {manifest.ledger}, DATABASE_URL names {kind}: expected the same kind.")
    if manifest.revision > newest():
        raise Refused(
            f"The archive's ledger is of revision {manifest.revision}, this release knows up to {newest()}: "
            f"expected release {manifest.release} or a newer one."
        )


def _place(settings: Settings, data: Path, staging: Path, manifest: Manifest, models: Path | None) -> None:
    # The old ledger goes first, the new one comes last: cut off in between, this is no stack that starts on half its files.
    if manifest.ledger == "sqlite":
        snapshot.remove_sqlite(settings.ledger_url)
    for name in ("artifacts", *BROKEN_OFF):
        if (data / name).exists():
            shutil.rmtree(data / name)
    if (staging / "artifacts").exists():
        (staging / "artifacts").replace(data / "artifacts")
    if models is not None and manifest.models_at:
        _place_models(staging, manifest.models_at, models)
    os.sync()
    snapshot.put_back(settings.ledger_url, staging, manifest.revision, time.time(), settings.no_model_wait_s)
    os.sync()


def _place_models(staging: Path, was_at: str, models: Path) -> None:
    models.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in models.glob("mlflow.db*"):
        old.unlink()
    if (models / "artifacts").exists():
        shutil.rmtree(models / "artifacts")
    if (staging / "mlflow").exists():
        shutil.move(staging / "mlflow", models / "artifacts")  # perhaps another disk
    _move_addresses(staging / "mlflow.db", was_at, (models.resolve() / "artifacts").as_uri())
    shutil.move(staging / "mlflow.db", models / "mlflow.db")


def _move_addresses(store: Path, before: str, now: str) -> None:
    with closing(sqlite3.connect(store)) as database, database:
        for table, column in OF_MODELS:
            if column in {row[1] for row in database.execute(f"PRAGMA table_info({table})")}:
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608 - names of ours
                    (now, len(before) + 1, len(before), before),
                )
