"""The loop that fires schedules, under a clock of its own."""

from __future__ import annotations

import fcntl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.schedule import (
    Schedule,
    ScheduleState,
    add_schedule,
    find_schedule,
    list_schedules,
    read_state,
    remove_schedule,
    schedules_folder,
)
from pipelines.schedule_loop import run_schedules
from worldloom.config import parse_config
from worldloom.errors import ConfigError, MachineError

MORNING = datetime(2026, 5, 4, 6, 0, 30, tzinfo=UTC)


class FakeClock:
    """Waiting takes no time; a jump adds some that nobody waited for."""

    def __init__(self) -> None:
        self.time = MORNING
        self.jump = timedelta()

    def now(self) -> datetime:
        return self.time

    def wait(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds) + self.jump
        self.jump = timedelta()


class FakeStarter:
    """Runs are names; those in `active` are under way."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.active: set[str] = set()
        self.failure: ConfigError | None = None

    def start(self, schedule: Schedule) -> str:
        if self.failure is not None:
            raise self.failure
        run_id = f"{schedule.name}-{len(self.started)}"
        self.started.append(run_id)
        self.active.add(run_id)
        return run_id

    def is_active(self, run_id: str) -> bool:
        return run_id in self.active

    def cancel(self, run_id: str) -> None:
        self.cancelled.append(run_id)
        self.active.discard(run_id)


def _run(home: Path, starter: FakeStarter, clock: FakeClock, fires: int) -> list[ScheduleState]:
    told: list[ScheduleState] = []
    run_schedules(
        home, starter, clock=clock, report=lambda _, state: told.append(state), max_fires=fires
    )
    return told


def test_due_schedules_fire_and_an_overlapping_run_is_skipped(tmp_path: Path) -> None:
    add_schedule(tmp_path, Schedule(name="often", cron="*/10 * * * *"))
    starter, clock = FakeStarter(), FakeClock()
    told = _run(tmp_path, starter, clock, 2)
    assert [state.fired[11:16] for state in told] == ["06:10", "06:20"]
    assert starter.started == ["often-0"]
    assert told[1].outcome == "skipped: run often-0 is under way"
    starter.active.clear()
    assert _run(tmp_path, starter, clock, 1)[0].outcome == "started run often-1"
    assert read_state(tmp_path, "often").run_id == "often-1"


def test_replace_cancels_the_run_under_way(tmp_path: Path) -> None:
    add_schedule(tmp_path, Schedule(name="often", cron="* * * * *", overlap="replace"))
    starter = FakeStarter()
    _run(tmp_path, starter, FakeClock(), 2)
    assert starter.started == ["often-0", "often-1"]
    assert starter.cancelled == ["often-0"]


def test_missed_fires_are_not_made_up_for(tmp_path: Path) -> None:
    add_schedule(tmp_path, Schedule(name="often", cron="*/10 * * * *", overlap="replace"))
    starter, clock = FakeStarter(), FakeClock()
    clock.jump = timedelta(hours=3, minutes=5)
    told = _run(tmp_path, starter, clock, 2)
    assert [state.fired[11:16] for state in told] == ["09:10", "09:20"]


def test_a_run_that_cannot_start_is_told_and_the_loop_goes_on(tmp_path: Path) -> None:
    add_schedule(tmp_path, Schedule(name="often", cron="* * * * *"))
    starter = FakeStarter()
    starter.failure = ConfigError("train.steps: no such setting")
    told = _run(tmp_path, starter, FakeClock(), 2)
    assert {state.outcome for state in told} == {"not started: train.steps: no such setting"}


def test_a_second_loop_is_refused(tmp_path: Path) -> None:
    schedules_folder(tmp_path).mkdir()
    with (schedules_folder(tmp_path) / "loop.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(MachineError, match="another schedule loop"):
            _run(tmp_path, FakeStarter(), FakeClock(), 1)


def test_schedules_are_kept_listed_and_removed(tmp_path: Path) -> None:
    add_schedule(tmp_path, Schedule(name="b", cron="0  6 * * *", timezone="Europe/Berlin"))
    add_schedule(tmp_path, Schedule(name="a", cron="0 7 * * *"))
    assert [schedule.name for schedule in list_schedules(tmp_path)] == ["a", "b"]
    assert find_schedule(tmp_path, "b").cron == "0 6 * * *"
    remove_schedule(tmp_path, "a")
    with pytest.raises(ConfigError, match="no schedule 'a'; known: b"):
        remove_schedule(tmp_path, "a")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"cron": "0 25 * * *"}, "hour '25'"),
        ({"timezone": "Europe/Berln"}, "no time zone 'Europe/Berln'"),
        ({"overlap": "queue"}, "overlap"),
        ({"name": "A b"}, "name"),
    ],
)
def test_mistakes_are_named(values: dict[str, str], sentence: str) -> None:
    known = {"name": "a", "cron": "0 6 * * *"}
    with pytest.raises(ConfigError, match=sentence):
        parse_config(Schedule, known | values, where="schedule")
