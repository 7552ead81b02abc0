"""The foreground loop that fires due schedules on this machine.

A fire that was missed (the loop did not run, the machine slept) is not made up for. Two loops on
one home would fire twice, so the second is refused. What a fire does is given from outside.
"""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from pipelines.incumbent import with_incumbent
from pipelines.local import RunRequest, cancel_run, prepare_run, start_run
from pipelines.run_record import run_state, runs_folder
from pipelines.schedule import (
    Schedule,
    ScheduleState,
    list_schedules,
    read_state,
    schedules_folder,
    write_state,
)
from pipelines.starter import default_starter_folder
from worldloom.errors import MachineError, WorldloomError
from worldloom.log import log_event

logger = logging.getLogger(__name__)

_REREAD_SECONDS = 15.0
_LATE = timedelta(seconds=90)


class Clock(Protocol):
    """The time, and waiting for it."""

    def now(self) -> datetime:
        """Return the time with its zone."""
        ...

    def wait(self, seconds: float) -> None:
        """Wait so long."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """Return the time."""
        return datetime.now(UTC)

    def wait(self, seconds: float) -> None:
        """Wait so long."""
        time.sleep(seconds)


class RunStarter(Protocol):
    """Starts runs and knows about them."""

    def start(self, schedule: Schedule) -> str:
        """Start a run for a schedule and return its id."""
        ...

    def is_active(self, run_id: str) -> bool:
        """Tell whether a run is under way."""
        ...

    def cancel(self, run_id: str) -> None:
        """End a run."""
        ...


class LocalRunStarter:
    """Starts runs on this machine."""

    def __init__(self, home: Path, store: str) -> None:
        """Use one home and one store for all runs."""
        self._home = home
        self._store = store

    def start(self, schedule: Schedule) -> str:
        """Start a run for a schedule and return its id."""
        request = RunRequest(
            home=self._home,
            store=self._store,
            pipeline=schedule.pipeline,
            preset=schedule.preset,
            overrides=schedule.overrides,
            arguments=schedule.arguments,
            starter=None if schedule.from_scratch else default_starter_folder(),
        )
        return start_run(with_incumbent(prepare_run(request))).name

    def is_active(self, run_id: str) -> bool:
        """Tell whether a run is under way."""
        folder = runs_folder(self._home) / run_id
        return folder.is_dir() and run_state(folder) in {"starting", "running"}

    def cancel(self, run_id: str) -> None:
        """End a run."""
        cancel_run(runs_folder(self._home) / run_id)


def run_schedules(
    home: Path,
    starter: RunStarter,
    *,
    clock: Clock,
    report: Callable[[Schedule, ScheduleState], None],
    max_fires: int | None = None,
) -> None:
    """Fire what is due, until `max_fires` fires or forever.

    Raises:
        MachineError: if another loop runs on this home.
    """
    with _only_loop(home):
        count = 0
        seen = clock.now()
        while max_fires is None or count < max_fires:
            now = clock.now()
            for schedule, instant in _due(home, seen, now):
                if max_fires is None or count < max_fires:
                    report(schedule, _fire(home, schedule, instant, starter))
                    count += 1
            seen = now
            if max_fires is None or count < max_fires:
                clock.wait(_seconds_to_wait(home, now))


def _due(home: Path, seen: datetime, now: datetime) -> list[tuple[Schedule, datetime]]:
    """Return the schedules with an instant since the last look; of several, the last instant."""
    due = []
    for schedule in list_schedules(home):
        instant = schedule.next_fire(max(seen, now - _LATE))
        latest = None
        while instant <= now:
            latest = instant
            instant = schedule.next_fire(instant)
        if latest is not None:
            due.append((schedule, latest))
    return due


def _seconds_to_wait(home: Path, now: datetime) -> float:
    waits = [(s.next_fire(now) - now).total_seconds() for s in list_schedules(home)]
    return max(0.05, min([_REREAD_SECONDS, *waits]))


def _fire(home: Path, schedule: Schedule, instant: datetime, starter: RunStarter) -> ScheduleState:
    last = read_state(home, schedule.name)
    active = bool(last.run_id) and starter.is_active(last.run_id)
    run_id = last.run_id
    if active and schedule.overlap == "skip":
        outcome = f"skipped: run {last.run_id} is under way"
    else:
        if active:
            starter.cancel(last.run_id)
        try:
            run_id = starter.start(schedule)
            outcome = f"started run {run_id}"
        except WorldloomError as error:
            outcome = f"not started: {error}"
    state = ScheduleState(fired=instant.isoformat(), outcome=outcome, run_id=run_id)
    write_state(home, schedule.name, state)
    log_event(logger, "schedule_fired", schedule=schedule.name, outcome=outcome)
    return state


@contextmanager
def _only_loop(home: Path) -> Iterator[None]:
    folder = schedules_folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "loop.lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another schedule loop runs on {home}, expected only one"
            raise MachineError(message) from error
        yield
