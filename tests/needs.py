"""What a test needs and this machine may lack."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def absent(what: str) -> NoReturn:
    """The test is skipped; under CI=true it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def program(*names: str) -> str:
    """Where the first of these programs is that this machine has; without any, as `absent`."""
    found = next(filter(None, map(shutil.which, names)), None)
    return found if found is not None else absent(f"no {names[0]} on this machine: apt-get install {names[0]}")
