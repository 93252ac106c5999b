"""Where faults are played: on a stack of their own with what they need beside it, or one after the other on one stack."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.chaos.faults import Fault, Scene, tmpfs
from benchmarks.chaos.servers import MlflowServer, Postgres
from benchmarks.stack import Stack

DISK_MB = 700


class Stages:
    """A context; at its end everything is stopped.

    Args:
        lease_s: JOB_LEASE_S of the stacks.
        postgres: the ledger on a PostgreSQL of our own.
        shared: faults that need nothing of their own share one stack, which lives as long as each trial on it ends.
    """

    def __init__(self, lease_s: float, postgres: bool, shared: bool) -> None:
        self._lease_s, self._postgres, self._shares = lease_s, postgres, shared
        self._after = ExitStack()
        self._shared: Scene | None = None

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @contextmanager
    def scene(self, fault: Fault, trial: int, folder: Path) -> Iterator[Scene]:
        """A stack that is up, for one trial; what it writes may go to `folder`."""
        if not self._shares or fault.trains or fault.settings or fault.needs not in ("", "postgres" if self._postgres else ""):
            with ExitStack() as after:
                yield self._open(fault, trial, folder, after)
            return
        try:
            if self._shared is None:
                shared = Path(tempfile.mkdtemp(prefix="chaos-shared-"))
                self._after.callback(shutil.rmtree, shared, ignore_errors=True)
                self._shared = self._open(fault, trial, shared, self._after)
            yield replace(self._shared, chance=random.Random(trial), expected={}, bulk=[], work_s=Scene.work_s)
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        self._shared = None
        self._after.close()

    def _open(self, fault: Fault, trial: int, folder: Path, after: ExitStack) -> Scene:
        settings = {"JOB_LEASE_S": f"{self._lease_s:g}", **dict(fault.settings)}
        postgres = mlflow = None
        if self._postgres or fault.needs == "postgres":
            folder.chmod(0o711)  # its user must find its own folder
            postgres = Postgres(folder / "postgres")
            after.callback(postgres.remove)
            postgres.start()
            settings["DATABASE_URL"] = postgres.url
        if fault.needs == "mlflow":
            mlflow = MlflowServer(folder / "mlflow")
            after.callback(mlflow.remove)
            mlflow.start()
            settings["MLFLOW_TRACKING_URI"] = mlflow.url
        if fault.needs == "tmpfs":
            after.enter_context(tmpfs(folder / "stack", DISK_MB))
        stack = Stack(folder / "stack", **settings)
        after.callback(stack.kill_all)
        stack.start()
        return Scene(stack, self._lease_s, random.Random(trial), postgres, mlflow)
