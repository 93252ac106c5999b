"""Beat on a schedule file of its own, with nothing to send to."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from beat_schedule import schedule
from jobs.app import make_app
from tests.workers.conftest import NOWHERE, House
from workers import beat

NAME = "check-every-model"


def test_a_clock_that_was_ahead_by_a_year_holds_up_no_tick(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the schedule's file the last tick was sent next year: the next one comes an interval from now all the same."""
    monkeypatch.setattr(beat, "load", lambda: house.settings)
    app = make_app(NOWHERE, beat_schedule=schedule(house.settings))
    file = str(tmp_path / "schedule")
    before = beat.Scheduler(app=app, schedule_filename=file, max_interval=5)
    before.schedule[NAME].last_run_at = app.now() + timedelta(days=365)
    before.close()
    scheduler = beat.Scheduler(app=app, schedule_filename=file, max_interval=5)
    assert scheduler.schedule[NAME].is_due()[1] > 300 * 86_400
    scheduler.tick()
    assert scheduler.schedule[NAME].is_due()[1] <= house.settings.check_interval_seconds
    scheduler.close()


def test_each_turn_is_a_sign_to_a_health_check(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ALIVE_FILE is there after the first turn."""
    alive = tmp_path / "alive"
    monkeypatch.setattr(beat, "load", lambda: house.settings.model_copy(update={"alive_file": alive}))
    scheduler = beat.Scheduler(app=make_app(NOWHERE), schedule_filename=str(tmp_path / "schedule"), max_interval=5)
    assert not alive.exists()
    scheduler.tick()
    assert alive.exists()
    scheduler.close()
