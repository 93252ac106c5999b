"""`python -m api`: migrate the ledger, make a key where there is none, and serve until SIGTERM."""

from __future__ import annotations

import os
import secrets
import socket
import struct
import sys
from pathlib import Path

from pydantic import SecretStr

from api import errors
from api.server import Server
from settings import Settings, load
from storage.database import Database
from storage.migrate import TooOld, migrate
from telemetry import logs

KEY_FILE = "api_key"
SLOW_S = 20  # a peer that neither sends nor takes a byte for so long gives its thread back


def main() -> int:
    """Serve. Returns the exit status where it could not even begin."""
    os.umask(0o077)
    settings = with_key(load())
    logs.setup(settings.log_level, settings.log_format, settings.secrets)
    listener = listen(settings.api_host, settings.api_port)
    if listener is None:
        taken = f"Port {settings.api_port} of {settings.api_host} cannot be listened on: it is taken, or not ours."
        print(f"{taken} Set API_PORT, or stop the other process.", file=sys.stderr)
        return 1
    database = Database(settings.ledger_url)
    try:
        migrate(database)
    except TooOld as sentence:
        print(sentence, file=sys.stderr)
        return 2
    finally:
        database.close()
    Server(settings, listener).run()
    return 0


def with_key(settings: Settings) -> Settings:
    """The settings with an API_KEY: on loopback one is made at the first start, kept, and printed once."""
    if settings.api_key is not None:
        return settings
    file = settings.data_dir / KEY_FILE
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _keep(file, secrets.token_urlsafe(32))
        print(f"API_KEY is unset: made one, kept in {file}: {file.read_text().strip()}", flush=True)
    key = file.read_text().strip()
    if not key:
        sys.exit(f"{file}: empty, expected the API key. Delete the file to have a new one made.")
    return settings.model_copy(update={"api_key": SecretStr(key)})


def _keep(file: Path, key: str) -> None:
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as out:
        out.write(key + "\n")
        out.flush()
        os.fsync(out.fileno())
    try:
        os.link(draft, file)  # whoever comes second keeps what the first has written
    except FileExistsError:
        errors.log.debug("another process has made the key")
    finally:
        draft.unlink()


def listen(host: str, port: int) -> socket.socket | None:
    """A listening socket, made before anything slow so that a taken port is told at once; None if there is none to have."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # connections inherit it
        listener.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", SLOW_S, 0))
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        return None
    listener.set_inheritable(True)
    return listener


if __name__ == "__main__":
    sys.exit(main())
