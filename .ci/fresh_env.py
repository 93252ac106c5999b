"""Writes `.env` for docker compose: the example, with fresh random secrets. Never overwrites one."""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECRETS = {
    "API_KEY": "",
    "POSTGRES_PASSWORD": "",
    "REDIS_PASSWORD": "",
    "FLOWER_BASIC_AUTH": "flower:",
    "DASHBOARD_PASSWORD": "",
    "GRAFANA_PASSWORD": "",
}


def with_secrets(example: str) -> str:
    """The example's text with each secret's line set to a value of its own (256 bits, URL-safe).

    Raises:
        ValueError: the example lacks one of the secrets.
    """
    for name, prefix in SECRETS.items():
        line = f"{name}={prefix}{secrets.token_urlsafe(32)}"
        example, count = re.subn(rf"(?m)^#? ?{name}=.*$", line, example)
        if count != 1:
            raise ValueError(f".env.example has {count} lines for {name}: expected 1")
    return example


def main(folder: Path = ROOT) -> int:
    """Write it; 1 if there is one already."""
    target = folder / ".env"
    text = with_secrets((folder / ".env.example").read_text())
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{target} exists and stays as it is. Remove it first for fresh secrets.", file=sys.stderr)
        return 1
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    print(f"Wrote {target} (mode 0600) with fresh secrets: {', '.join(SECRETS)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
