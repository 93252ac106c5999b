"""`python -m embedded up | demo`: the whole stack on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import settings
from embedded import broker, ports, stack
from embedded.console import Console
from embedded.home import AlreadyRunning, Home
from embedded.rotation import Rotation
from embedded.stack import Group, Stack
from embedded.supervisor import Event, StartFailed, Supervisor

START_TIMEOUT_S = 300.0  # a small or busy machine may need two minutes
DEMO_INTERVAL_S = 3.0


class Show:
    """Tells of events on the console: one line a group once all of it is ready, one line a death."""

    def __init__(self, console: Console, logs: Path) -> None:
        self.console = console
        self.logs = logs
        self.waiting: list[tuple[Group, set[str]]] = []
        self.starting = True  # what ends now fails the start, and is told by that
        self.muted = False

    def expect(self, groups: Iterable[Group]) -> None:
        """Tell of these groups when they are ready."""
        self.waiting += [(group, {process.name for process in group.processes}) for group in groups]

    def __call__(self, event: Event) -> None:
        """Tell of one event."""
        if self.muted:
            return
        if event.kind == "ended" and not self.starting:
            log = Home.shown(self.logs / f"{event.name}.log")
            self.console.warn(f"{event.name} ended ({event.detail}), starts again in {event.seconds:g} s   {log}")
        for group, missing in self.waiting:
            if event.kind == "ready" and event.name in missing:
                missing.remove(event.name)
                if not missing:
                    self.console.step(group.title, event.seconds, group.detail)


def main(arguments: list[str] | None = None) -> int:
    """Run the stack.

    Returns:
        0 after a stop that was asked for, or a story that closed; 1 if something failed; 2 for a wrong
        setting.
    """
    asked = _parse(arguments)
    try:
        chosen = settings.read(**_overrides(asked))
        return _run(asked, chosen)
    except settings.WrongSetting as wrong:
        print(wrong, file=sys.stderr)
        return 2
    except (AlreadyRunning, ports.PortTaken, StartFailed) as failed:
        print(failed, file=sys.stderr)
        return 1


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m embedded", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start the stack and watch over it")
    demo = commands.add_parser("demo", help="the same, and tell its story")
    demo.add_argument("--exit", action="store_true", help="end with the story: status 0 if it closed, else 1")
    return parser.parse_args(arguments)


def _overrides(asked: argparse.Namespace) -> dict[str, float]:
    quick = asked.command == "demo" and not os.environ.get("CHECK_INTERVAL_SECONDS")
    return {"check_interval_seconds": DEMO_INTERVAL_S} if quick else {}


def _run(asked: argparse.Namespace, chosen: settings.Settings) -> int:
    os.umask(0o077)
    home = Home(chosen.data_dir)
    _check_ports(chosen)
    if chosen.api_key is None:
        home.kept_secret("api_key")  # the API would print it, and its output is a log
    own_broker = None if chosen.redis_url else broker.prepare(home)
    plan = stack.build(chosen, home, own_broker)
    console = Console()
    show = Show(console, home.logs)
    supervisor = Supervisor(home.logs, show, Rotation(chosen.log_file_mb << 20, chosen.log_files))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, supervisor.request_stop)
    try:
        began = time.monotonic()
        if not _start(plan, supervisor, show):
            return 0
        console.line(f"\nReady after {time.monotonic() - began:.0f} s. Key: {_key(chosen, home)}   Stop: Ctrl-C\n")
        return _stay(asked, chosen, plan, supervisor, show)
    finally:
        show.muted = True
        supervisor.stop()
        home.release()


def _start(plan: Stack, supervisor: Supervisor, show: Show) -> bool:
    """Bring up every stage, then what may come later; False if a stop was asked for meanwhile."""
    for groups in plan.stages:
        show.expect(groups)
        processes = [process for group in groups for process in group.processes]
        supervisor.start(processes)
        if not supervisor.wait_ready([process.name for process in processes], START_TIMEOUT_S):
            return False
    show.starting = False
    return True


def _stay(asked: argparse.Namespace, chosen: settings.Settings, plan: Stack, supervisor: Supervisor, show: Show) -> int:
    """Watch over the stack until it is to stop, or the story that ends it is told."""
    tale = _Tale(chosen, show.console, stays=not asked.exit) if asked.command == "demo" else None
    pages = _one_by_one(plan.pages, supervisor, show)
    while not supervisor.stop_requests:
        supervisor.tick()
        next(pages, None)
        if tale and tale.told and asked.exit:
            return 0 if tale.closed else 1
        time.sleep(0.2)
    return 0


def _one_by_one(groups: Iterable[Group], supervisor: Supervisor, show: Show) -> Iterator[None]:
    """At each step: start the next group if the one before is settled, so that the first jobs keep a core."""
    for group in groups:
        show.expect([group])
        supervisor.start(group.processes)
        while not all(supervisor.children[process.name].settled for process in group.processes):
            yield


class _Tale(threading.Thread):
    """The story, told beside the supervisor, which alone may start processes."""

    def __init__(self, chosen: settings.Settings, console: Console, stays: bool) -> None:
        super().__init__(name="story", daemon=True)
        self.chosen = chosen
        self.console = console
        self.stays = stays
        self.told = self.closed = False
        self.start()

    def run(self) -> None:
        """Tell it."""
        from embedded import story  # only the demo needs an HTTP client

        try:
            self.closed = story.tell(self.chosen, self.console)
            if self.stays:
                url, page = self.chosen.base_url, f"http://{self.chosen.dashboard_host}:{self.chosen.dashboard_port}"
                self.console.line(f"It stays up until Ctrl-C.   try: curl {url}/model-status   look: {page}   stop: Ctrl-C")
        finally:
            self.told = True


def _check_ports(chosen: settings.Settings) -> None:
    ports.check(chosen.api_host, chosen.api_port, "API_PORT")
    ports.check(chosen.dashboard_host, chosen.dashboard_port, "DASHBOARD_PORT")
    ports.check("127.0.0.1", chosen.flower_port, "FLOWER_PORT")
    if not chosen.mlflow_tracking_uri:
        ports.check("127.0.0.1", chosen.mlflow_port, "MLFLOW_PORT")


def _key(chosen: settings.Settings, home: Home) -> str:
    return "API_KEY" if chosen.api_key else Home.shown(home.root / "api_key")


if __name__ == "__main__":
    sys.exit(main())
