"""`python -m backup write [FILE|-]`, `check FILE|-`, `restore FILE|- [--replace]`: one archive of all state, and back."""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from backup import archive
from backup.alone import Refused
from backup.archive import Damaged, Manifest
from backup.restoring import restore
from backup.writing import to_file, to_stdout
from settings import Settings, load
from storage.snapshot import InUse

STREAM = "-"


def main(arguments: list[str] | None = None) -> int:
    """0, or 1 with one sentence on stderr."""
    os.umask(0o077)
    asked = _parse(arguments)
    settings = load()
    models = asked.mlflow or (None if settings.mlflow_tracking_uri else settings.data_dir.resolve() / "mlflow")
    began = time.monotonic()
    try:
        manifest = _do(asked, settings, models)
    except (Damaged, Refused, InUse, LookupError, OSError) as fault:
        print(f"{asked.what} {asked.file}: {fault}", file=sys.stderr)
        return 1
    except (DBAPIError, sqlite3.Error) as fault:
        cause = fault.orig if isinstance(fault, DBAPIError) else fault
        print(f"{asked.what} {asked.file}: a database failed ({type(cause).__name__}): {cause}".strip(), file=sys.stderr)
        return 1
    _tell(asked.what, asked.file, manifest, time.monotonic() - began)
    return 0


def _do(asked: argparse.Namespace, settings: Settings, models: Path | None) -> Manifest:
    if asked.what == "write":
        if models is None:
            print("MLflow is a server of its own: without --mlflow FOLDER its store is not in the archive.", file=sys.stderr)
        return to_stdout(settings, models) if asked.file == STREAM else to_file(settings, Path(asked.file), models)
    with nullcontext(sys.stdin.buffer) if asked.file == STREAM else open(asked.file, "rb") as source:
        if asked.what == "check":
            return archive.read(source, None)
        return restore(settings, source, models, asked.replace)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m backup", description=__doc__)
    parser.add_argument("--mlflow", type=Path, help="folder of MLflow's store, where it is not the embedded one")
    commands = parser.add_subparsers(dest="what", required=True)
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    write = commands.add_parser("write", help="back up a stack, which goes on working")
    write.add_argument("file", nargs="?", default=f"backups/continual-{now}.tar.gz", help="a new file, or - for the output")
    commands.add_parser("check", help="hold every hash against the manifest").add_argument("file")
    again = commands.add_parser("restore", help="put a backup in place; the stack must not run")
    again.add_argument("file", help="a file, or - for the input")
    again.add_argument("--replace", action="store_true", help="delete what is there now")
    return parser.parse_args(arguments)


def _tell(what: str, file: str, manifest: Manifest, seconds: float) -> None:
    size = sum(entry.size for entry in manifest.files.values())
    done = {"write": "written", "check": "whole", "restore": "in place, the broker empty: start the stack"}[what]
    said = f"{len(manifest.files):,} files, {size / 1e6:,.1f} MB, ledger {manifest.ledger} at {manifest.revision}"
    print(f"✓ {file}: {done} ({said}; of {manifest.made_at}; {seconds:.1f} s)", file=sys.stderr)
    if manifest.missing:
        more = f"{len(manifest.missing)} files that the ledger names were not there, the first is {manifest.missing[0]}"
        print(f"! {more}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
