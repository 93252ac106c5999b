"""The uv that the Makefile fetched: it puts what is only measured or borrowed into environments of its own, never into ours."""

from __future__ import annotations

import os
import sys
from typing import Final

from benchmarks.stack import ROOT

UV: Final = (sys.executable, "-m", "uv")


def uv_env() -> dict[str, str]:
    """The environment that `UV` is found and run in."""
    return {**os.environ, "PYTHONPATH": str(ROOT / ".boot"), "UV_PYTHON_DOWNLOADS": "never", "UV_LINK_MODE": "copy"}
