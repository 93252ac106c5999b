"""Everything an operator would look at: over HTTP from anywhere, and on the machine of the stack behind it as well."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from continual.answers import Health
from continual.client import Client, every
from continual.errors import ApiError

ROOT = Path(__file__).resolve().parents[1]
SKEW_S = 5.0  # by so much may two machines' clocks differ
PROBES_S = 180.0
MENDS = {
    "database": "Look at DATABASE_URL and at the server behind it; `continual doctor` on the stack's machine says more.",
    "broker": "Start the broker again (`docker compose up -d redis`; `make up` does so by itself). Jobs wait meanwhile.",
    "workers": "Start workers: `docker compose up -d worker`; under `make up` see data/logs/predict.log.",
    "registry": "Look at MLflow (`docker compose up -d mlflow`); champions serve on without it.",
    "beat": "Start beat again: `docker compose up -d beat`; under `make up` see data/logs/beat.log.",
    "disk": "Make room on the disk of DATA_DIR, or lower RETENTION_DAYS.",
}


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at: whether it is well, in a sentence, and what to do if not."""

    name: str
    ok: bool
    detail: str
    mend: str = ""


def examine(url: str, token: str) -> list[Finding]:
    """All findings: those of the API, then those behind it."""
    here = list(behind()) if (ROOT / "workers").is_dir() else []
    seen = {each.name for each in here}
    with Client(url, token, timeout_s=10.0, patience_s=2.0) as client:
        return [*(each for each in over_http(client, token) if each.name not in seen), *here]


def over_http(client: Client, token: str) -> Iterator[Finding]:
    """What can be seen from anywhere."""
    try:
        health = client.health()
    except ApiError as silent:
        mend = "Start the stack (`make up`, `docker compose up -d`), or say where it is: --url, CONTINUAL_URL."
        yield Finding("api", False, str(silent), mend)
        return
    yield Finding("api", True, f"{client.base_url} answers, version {health.version}")
    yield _clock(client)
    yield from _parts(health)
    yield _token(client, token)
    yield from _models(client, token)


def behind() -> Iterator[Finding]:
    """What the machine of the stack can see, in a process of its own: this one needs no driver of any store."""
    command = [sys.executable, "-m", "workers", "doctor"]
    try:
        ran = subprocess.run(command, cwd=None, capture_output=True, text=True, timeout=PROBES_S, check=False)
    except subprocess.TimeoutExpired:
        yield Finding("probes", False, f"They took longer than {PROBES_S:.0f} s.", "The machine is overloaded, or a disk hangs.")
        return
    if ran.returncode:
        said = (ran.stderr.strip().splitlines() or ["no reason given"])[-1]
        yield Finding("settings", False, said, "Mend that variable in the environment or in .env.")
        return
    yield from msgspec.json.decode(ran.stdout, type=list[Finding])


def _clock(client: Client) -> Finding:
    """The API's clock against ours."""
    try:
        apart = abs(client.now().timestamp() - time.time())
    except (ApiError, ValueError) as fault:
        return Finding("clock", False, f"It could not be compared: {fault}", "Ask again.")
    mend = "Set the clocks by NTP: tokens expire and leases are told by them."
    return Finding("clock", apart <= SKEW_S, f"{apart:.0f} s apart from the API's", mend)


def _parts(health: Health) -> Iterator[Finding]:
    for name, part in health.components.items():
        yield Finding(name, part.status == "ok", part.detail, MENDS.get(name, ""))


def _token(client: Client, token: str) -> Finding:
    if not token:
        mend = "Give --token, set CONTINUAL_TOKEN, or run this where DATA_DIR/api_key can be read."
        return Finding("token", False, "None is given.", mend)
    try:
        client.jobs(limit=1)
    except ApiError as refused:
        mend = "Take API_KEY of the stack, or have an admin make one: continual tokens create NAME."
        wrong = refused.status == 401
        return Finding("token", False, "The API does not know it (401), or it has expired." if wrong else str(refused), mend)
    return Finding("token", True, "The API knows it.")


def _models(client: Client, token: str) -> Iterator[Finding]:
    if not token:
        return
    try:
        known = list(every(client.models))
    except ApiError:  # the token's own finding says why
        return
    without = [each.name for each in known if each.champion is None]
    has = f", without a version: {', '.join(without)}" if without else ", each has a version that serves"
    yield Finding(
        "models",
        not without,
        f"{len(known)} known{has}",
        "Upload labelled rows (continual upload ROWS.csv -m MODEL): the loop trains the first.",
    )
