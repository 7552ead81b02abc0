"""A schedule in the cluster's form: KFP's recurring runs, six cron fields in UTC.

A zone that changes its clocks becomes one recurring run per stretch of constant offset, each with
a beginning and an end. It does not talk to a cluster.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from pydantic import Field

from pipelines.cron import Cron, parse_cron
from pipelines.schedule import Schedule
from worldloom.config import Config
from worldloom.errors import ConfigError

_DAY_MINUTES = 24 * 60
_WEEK_MINUTES = 7 * _DAY_MINUTES
_HORIZON = timedelta(days=2 * 365)


class RecurringRun(Config):
    """One recurring run as KFP's API takes it."""

    job_name: str = Field(description="name of the recurring run")
    cron_expression: str = Field(description="second minute hour day month weekday, UTC")
    start_time: str | None = Field(default=None, description="beginning, RFC 3339; None: now")
    end_time: str | None = Field(default=None, description="end, RFC 3339; None: never")
    max_concurrency: int = Field(default=1, description="runs at a time")
    no_catchup: bool = Field(default=True, description="missed runs are not made up for")


def recurring_runs(schedule: Schedule, after: datetime) -> list[RecurringRun]:
    """Return the recurring runs that fire like the schedule for the next two years.

    Raises:
        ConfigError: if UTC cannot express it: days of the month whose date differs in UTC, or a
            run to be replaced, which KFP does not do.
    """
    if schedule.overlap != "skip":
        message = f"schedule {schedule.name}: a cluster cannot replace a run, expected overlap skip"
        raise ConfigError(message)
    cron = parse_cron(schedule.cron)
    stretches = _stretches(ZoneInfo(schedule.timezone), after.astimezone(UTC))
    runs = []
    for index, (start, end, offset) in enumerate(stretches):
        for part, expression in enumerate(_utc_expressions(schedule.name, cron, offset)):
            runs.append(
                RecurringRun(
                    job_name=f"{schedule.name}-{index}-{part}",
                    cron_expression=expression,
                    start_time=None if start is None else _rfc3339(start),
                    end_time=None if end is None else _rfc3339(end),
                )
            )
    return runs


def _stretches(
    zone: ZoneInfo, after: datetime
) -> list[tuple[datetime | None, datetime | None, int]]:
    """Return (beginning, end, offset in minutes) of each stretch of constant offset."""
    edges: list[datetime] = []
    instant = after
    while instant < after + _HORIZON:
        following = instant + timedelta(days=1)
        if _offset(zone, instant) != _offset(zone, following):
            edges.append(_change_between(zone, instant, following))
        instant = following
    if not edges:
        return [(None, None, _offset(zone, after))]
    starts: list[datetime | None] = [None, *edges]
    ends: list[datetime] = [*edges, after + _HORIZON]
    return [
        (start, end, _offset(zone, start or after)) for start, end in zip(starts, ends, strict=True)
    ]


def _change_between(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    before = _offset(zone, low)
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
    return (high + timedelta(milliseconds=500)).replace(microsecond=0)


def _offset(zone: ZoneInfo, instant: datetime) -> int:
    offset = instant.astimezone(zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds()) // 60


def _utc_expressions(name: str, cron: Cron, offset: int) -> list[str]:
    times = [hour * 60 + minute for hour in cron.hours for minute in cron.minutes]
    if all(0 <= time - offset < _DAY_MINUTES for time in times):
        days = "*" if cron.every_day else _listed(cron.days)
        months = "*" if len(cron.months) == 12 else _listed(cron.months)
        weekdays = "*" if cron.every_weekday else _listed(cron.weekdays)
        shifted = [time - offset for time in times]
        return [
            f"0 {minutes} {hours} {days} {months} {weekdays}"
            for minutes, hours in _products(shifted)
        ]
    if not cron.every_day or len(cron.months) != 12:
        message = (
            f"schedule {name}: in UTC its times fall on other days, "
            "expected no days of the month or months, or another hour"
        )
        raise ConfigError(message)
    by_weekdays: dict[int, set[int]] = defaultdict(set)
    for weekday in cron.weekdays:
        for time in times:
            moment = (weekday * _DAY_MINUTES + time - offset) % _WEEK_MINUTES
            by_weekdays[moment % _DAY_MINUTES].add(moment // _DAY_MINUTES)
    groups: dict[frozenset[int], list[int]] = defaultdict(list)
    for time, weekdays_of_time in by_weekdays.items():
        groups[frozenset(weekdays_of_time)].append(time)
    return [
        f"0 {minutes} {hours} * * {'*' if len(group) == 7 else _listed(group)}"
        for group, members in groups.items()
        for minutes, hours in _products(members)
    ]


def _products(times: Iterable[int]) -> list[tuple[str, str]]:
    """Return (minutes, hours) fields whose products are together exactly these times."""
    hours_of: dict[int, set[int]] = defaultdict(set)
    for time in times:
        hours_of[time % 60].add(time // 60)
    minutes_of: dict[frozenset[int], set[int]] = defaultdict(set)
    for minute, hours in hours_of.items():
        minutes_of[frozenset(hours)].add(minute)
    return [(_listed(minutes), _listed(hours)) for hours, minutes in minutes_of.items()]


def _listed(values: Iterable[int]) -> str:
    return ",".join(str(value) for value in sorted(values))


def _rfc3339(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
