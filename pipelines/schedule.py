"""Schedules: a cron expression in a time zone, and what it starts; kept as files in the home.

It knows when a schedule is due and how it is stored. What starts and watches the runs is
`pipelines.schedule_loop`; the cluster's form is `pipelines.recurring`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from components.task_status import write_json
from pipelines.cron import fires, next_fire, parse_cron
from worldloom.config import Config, load_config, resolved
from worldloom.errors import ConfigError


class Schedule(Config):
    """A clock for a pipeline."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$", description="name of the schedule")
    cron: str = Field(description="minute hour day-of-month month day-of-week")
    timezone: str = Field(default="UTC", description="IANA time zone, such as Europe/Berlin")
    pipeline: str = Field(default="world_model", description="pipeline that it starts")
    preset: str = Field(default="demo", description="preset of its runs")
    overrides: tuple[str, ...] = Field(default=(), description="settings of its runs")
    arguments: dict[str, str] = Field(default_factory=dict, description="arguments of its runs")
    from_scratch: bool = Field(default=False, description="train without the starter weights")
    overlap: Literal["skip", "replace"] = Field(
        default="skip",
        description="while its last run is under way: skip the new one, or cancel the old one",
    )

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        parse_cron(value)
        return " ".join(value.split())

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            message = f"no time zone {value!r}, expected a name such as Europe/Berlin"
            raise ValueError(message) from error
        return value

    def next_fire(self, after: datetime) -> datetime:
        """Return the first instant (UTC) after a given one."""
        return next_fire(parse_cron(self.cron), ZoneInfo(self.timezone), after)

    def next_fires(self, after: datetime, count: int) -> list[datetime]:
        """Return the next instants (UTC) after a given one."""
        return list(islice(self._fires(after), count))

    def _fires(self, after: datetime) -> Iterator[datetime]:
        return fires(parse_cron(self.cron), ZoneInfo(self.timezone), after)


class ScheduleState(Config):
    """What a schedule did last."""

    fired: str = Field(default="", description="instant of its last fire, UTC, ISO 8601")
    outcome: str = Field(default="", description="what that fire did")
    run_id: str = Field(default="", description="run that it started last")


def schedules_folder(home: Path) -> Path:
    """Return the folder that holds the schedules."""
    return home / "schedules"


def add_schedule(home: Path, schedule: Schedule) -> None:
    """Keep a schedule, replacing one of its name."""
    folder = schedules_folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{schedule.name}.json", resolved(schedule))


def list_schedules(home: Path) -> list[Schedule]:
    """Return all schedules by name."""
    paths = sorted(schedules_folder(home).glob("*.json"))
    return [load_config(Schedule, path.read_text(), where=str(path)) for path in paths]


def find_schedule(home: Path, name: str) -> Schedule:
    """Return a schedule.

    Raises:
        ConfigError: if there is none of that name.
    """
    for schedule in list_schedules(home):
        if schedule.name == name:
            return schedule
    known = ", ".join(schedule.name for schedule in list_schedules(home)) or "none"
    message = f"no schedule {name!r}; known: {known}"
    raise ConfigError(message)


def remove_schedule(home: Path, name: str) -> None:
    """Forget a schedule; its runs stay."""
    find_schedule(home, name)
    folder = schedules_folder(home)
    (folder / f"{name}.json").unlink()
    (folder / f"{name}.state").unlink(missing_ok=True)


def read_state(home: Path, name: str) -> ScheduleState:
    """Return what a schedule did last."""
    path = schedules_folder(home) / f"{name}.state"
    if not path.is_file():
        return ScheduleState()
    return load_config(ScheduleState, path.read_text(), where=str(path))


def write_state(home: Path, name: str, state: ScheduleState) -> None:
    """Keep what a schedule did last."""
    write_json(schedules_folder(home) / f"{name}.state", resolved(state))
