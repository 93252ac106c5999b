"""Runs in the processes that are profiled, found by Python through PYTHONPATH: wraps the stages' functions as modules load.

CPU time of the calling thread, each stage without those called in it; totals go to BENCH_PROFILE/PID.json four times a second.
Nothing of the code that is profiled knows of it.
"""

from __future__ import annotations

import functools
import importlib.machinery
import json
import os
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

EVERY_S = 0.25
_folder = Path(os.environ["BENCH_PROFILE"])
_wanted: dict[str, list[tuple[str, str]]] = {}
for _stage, _where in json.loads(os.environ["BENCH_STAGES"]):
    _wanted.setdefault(_where.partition(":")[0], []).append((_stage, _where.partition(":")[2]))
_totals: dict[str, list[float]] = {}
_missing: list[str] = []
_inner = threading.local()


def _timed(stage: str, function: Any) -> Any:
    total = _totals.setdefault(stage, [0, 0.0])

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        before, _inner.s = getattr(_inner, "s", 0.0), 0.0
        began = time.thread_time()
        try:
            return function(*args, **kwargs)
        finally:
            taken = time.thread_time() - began
            total[0] += 1
            total[1] += taken - _inner.s
            _inner.s = before + taken

    return wrapper


def _wrap(module: ModuleType) -> None:
    for stage, name in _wanted[module.__name__]:
        holder, _, last = name.rpartition(".")
        owner = getattr(module, holder, None) if holder else module
        if owner is None or not hasattr(owner, last):
            _missing.append(f"{module.__name__}:{name}")
        else:
            setattr(owner, last, _timed(stage, getattr(owner, last)))


class _Loader:
    """The real loader, and the wrapping after it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _wrap(module)


class _Finder:
    """Finds modules with stages in them, as everybody does, and has them wrapped."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if name in _wanted else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


def _tell() -> None:
    while True:
        time.sleep(EVERY_S)
        file = _folder / f"{os.getpid()}.json"
        draft = file.with_suffix(".part")
        draft.write_text(json.dumps({"stages": _totals, "missing": _missing, "process_s": time.process_time()}))
        draft.replace(file)


def _start() -> None:
    threading.Thread(target=_tell, name="profile", daemon=True).start()


sys.meta_path.insert(0, _Finder)
os.register_at_fork(after_in_child=_start)
_start()
