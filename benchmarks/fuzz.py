"""`python -m benchmarks.fuzz`: a stack is asked everything that its OpenAPI document allows, and much that it does not.

Schemathesis makes the requests, in an environment of its own: examples, boundaries, random ones, and sequences that follow
where answers lead. One run for each role and one without a token. Exit 1 for any 5xx, any answer that the document does
not tell of, and any route that opens without the token it asks for.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.stack import ROOT, Stack
from benchmarks.uv import UV, uv_env

ROLES = ("admin", "operator", "client", "viewer", "nobody")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
    "unsupported_method",
)


def main() -> int:
    """Fuzz in each role; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="for all roles together")
    parser.add_argument("--roles", default=",".join(ROLES), help=f"with commas (default: {','.join(ROLES)})")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="printed; the same seed makes the same requests")
    asked = parser.parse_args()
    roles = asked.roles.split(",")
    print(f"seed {asked.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        stack = Stack(Path(folder) / "stack", PROBLEMS_DIR="", WORKER_CONCURRENCY="1", NO_MODEL_WAIT_S="5")
        stack.start()
        try:
            found = [role for role in roles if not _holds(stack, role, max(1, asked.seconds // len(roles)), asked.seed)]
            said = stack.tracebacks()
        finally:
            stack.stop()
    for role in roles:
        print(f"{'✕' if role in found else '✓'} {role}")
    if said:
        print(f"✕ the logs tell of faults nobody foresaw: {', '.join(said)}")
    return 1 if found or said else 0


def _holds(stack: Stack, role: str, seconds: int, seed: int) -> bool:
    """Whether nothing was found in this role."""
    program = [*UV, "run", "--quiet", "--frozen", "--isolated", "--only-group", "fuzz", "--project", str(ROOT), "schemathesis"]
    url = f"http://127.0.0.1:{stack.port}/openapi.json"
    options = ["--checks", ",".join(CHECKS), "--max-time", str(seconds), "--seed", str(seed), "--request-timeout", "70"]
    # an event stream ends with its job; Schemathesis reads it to the end, and some jobs wait
    options += ["--exclude-path-regex", "events$", "--warnings", "off"]
    header = [] if role == "nobody" else ["-H", f"Authorization: Bearer {_token(stack, role)}"]
    print(f"\n--- as {role}, {seconds} s", flush=True)
    env = uv_env() | {"NO_COLOR": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        return subprocess.run([*program, "run", url, *options, *header], cwd=scratch, env=env, check=False).returncode == 0


def _token(stack: Stack, role: str) -> str:
    with stack.client() as admin:
        made = admin.post("/tokens", json={"name": f"fuzz {role}", "role": role, "expires_at": None})
        return str(made.raise_for_status().json()["token"])


if __name__ == "__main__":
    sys.exit(main())
