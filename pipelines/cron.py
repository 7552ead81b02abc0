"""Cron expressions of five fields, and the instants at which they fire in a time zone.

A local time that a clock change skips fires as much later as the clock jumps; one that occurs
twice fires once, unless every hour is wanted. Day of month and day of week, if both are
restricted, are alternatives, as in every cron. It does not know what is fired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from worldloom.errors import ConfigError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _WEEKDAYS),
)
_HORIZON_DAYS = 366 * 9  # 29 February can be eight years away


@dataclass(frozen=True)
class Cron:
    """A parsed expression.

    Attributes:
        minutes: wanted minutes.
        hours: wanted hours.
        days: wanted days of the month.
        months: wanted months.
        weekdays: wanted days of the week, 0 is Sunday.
        every_hour: the hour was `*`.
        every_day: the day of the month was `*`.
        every_weekday: the day of the week was `*`.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    every_hour: bool
    every_day: bool
    every_weekday: bool

    def fires_on(self, day: date) -> bool:
        """Tell whether the expression wants a day."""
        in_month = day.day in self.days
        in_week = day.isoweekday() % 7 in self.weekdays
        if self.every_day or self.every_weekday:
            return day.month in self.months and in_month and in_week
        return day.month in self.months and (in_month or in_week)


def parse_cron(text: str) -> Cron:
    """Parse `minute hour day-of-month month day-of-week`.

    Raises:
        ConfigError: naming the field and what it allows.
    """
    parts = text.split()
    if len(parts) != len(_FIELDS):
        message = f"cron {text!r}: {len(parts)} fields, expected 5 (minute hour day month weekday)"
        raise ConfigError(message)
    values = [_parse_field(part, *field) for part, field in zip(parts, _FIELDS, strict=True)]
    return Cron(
        minutes=values[0],
        hours=values[1],
        days=values[2],
        months=values[3],
        weekdays=frozenset(day % 7 for day in values[4]),
        every_hour=parts[1] == "*",
        every_day=parts[2].startswith("*"),
        every_weekday=parts[4].startswith("*"),
    )


def fires(cron: Cron, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Yield the instants (UTC) after a given one at which the expression fires, in order."""
    day = after.astimezone(zone).date() - timedelta(days=1)
    end = day + timedelta(days=_HORIZON_DAYS)
    last = after.astimezone(UTC)
    while day < end:
        if cron.fires_on(day):
            for instant in _instants(cron, zone, day):
                if instant > last:
                    last = instant
                    yield instant
        day += timedelta(days=1)


def next_fire(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime:
    """Return the first instant (UTC) after a given one.

    Raises:
        ConfigError: if the expression never fires, such as on 30 February.
    """
    for instant in fires(cron, zone, after):
        return instant
    message = f"{cron}: never fires, expected a date that exists"
    raise ConfigError(message)


def _instants(cron: Cron, zone: ZoneInfo, day: date) -> list[datetime]:
    folds = (0, 1) if cron.every_hour else (0,)
    found = {
        datetime.combine(day, time(hour, minute, fold=fold), zone).astimezone(UTC)
        for hour in cron.hours
        for minute in cron.minutes
        for fold in folds
    }
    return sorted(found)


def _parse_field(
    text: str, name: str, low: int, high: int, names: tuple[str, ...]
) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        body, slash, step_text = part.partition("/")
        step = _number(step_text, name, 1, high, ()) if slash else 1
        if body == "*":
            first, last = low, high
        else:
            first_text, dash, last_text = body.partition("-")
            first = _number(first_text, name, low, high, names)
            last = _number(last_text, name, low, high, names) if dash else first
            if slash and not dash:
                last = high
        if first > last:
            message = f"cron {name} {part!r}: expected a range that rises"
            raise ConfigError(message)
        values.update(range(first, last + 1, step))
    return frozenset(values)


def _number(text: str, name: str, low: int, high: int, names: tuple[str, ...]) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + (1 if names is _MONTHS else 0)
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        message = f"cron {name} {text!r}: expected a number from {low} to {high}"
        raise ConfigError(message)
    return int(text)
