"""`.ci/fresh_env.py` as a module: it lies where nothing is imported from."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from tests.architecture.law import ROOT


def load() -> ModuleType:
    """Load it anew, for a test to use or to change."""
    spec = importlib.util.spec_from_file_location("fresh_env", ROOT / ".ci" / "fresh_env.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
