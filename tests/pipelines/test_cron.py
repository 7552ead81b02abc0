"""When cron expressions fire, clock changes included."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from pipelines.cron import fires, next_fire, parse_cron
from worldloom.errors import ConfigError

BERLIN = ZoneInfo("Europe/Berlin")


def _next(text: str, zone: ZoneInfo, after: str, count: int = 1) -> list[str]:
    instants = fires(parse_cron(text), zone, datetime.fromisoformat(after))
    return [instant.strftime("%Y-%m-%dT%H:%MZ") for instant in islice(instants, count)]


def test_a_local_hour_moves_in_utc_with_the_clocks() -> None:
    assert _next("30 9 * * *", BERLIN, "2026-03-28T00:00+00:00", 2) == [
        "2026-03-28T08:30Z",
        "2026-03-29T07:30Z",
    ]


def test_a_skipped_local_time_fires_later_that_day() -> None:
    assert _next("30 2 * * *", BERLIN, "2026-03-28T12:00+00:00", 2) == [
        "2026-03-29T01:30Z",
        "2026-03-30T00:30Z",
    ]


def test_a_repeated_local_time_fires_once_and_a_wanted_hour_each_time() -> None:
    assert _next("30 2 * * *", BERLIN, "2026-10-24T12:00+00:00", 2) == [
        "2026-10-25T00:30Z",
        "2026-10-26T01:30Z",
    ]
    assert _next("30 * * * *", BERLIN, "2026-10-24T23:45+00:00", 3) == [
        "2026-10-25T00:30Z",
        "2026-10-25T01:30Z",
        "2026-10-25T02:30Z",
    ]


def test_steps_ranges_lists_and_names() -> None:
    cron = parse_cron("*/20 8-10 1,15 jan-mar mon,sun")
    assert cron.minutes == {0, 20, 40}
    assert cron.hours == {8, 9, 10}
    assert cron.days == {1, 15}
    assert cron.months == {1, 2, 3}
    assert cron.weekdays == {0, 1}
    assert parse_cron("0 0 * * 7").weekdays == {0}
    assert parse_cron("5/20 * * * *").minutes == {5, 25, 45}


def test_day_of_month_and_day_of_week_are_alternatives() -> None:
    utc = ZoneInfo("UTC")
    assert _next("0 0 13 * fri", utc, "2026-02-06T12:00+00:00", 3) == [
        "2026-02-13T00:00Z",
        "2026-02-20T00:00Z",
        "2026-02-27T00:00Z",
    ]
    assert _next("0 0 14 * fri", utc, "2026-02-13T12:00+00:00", 1) == ["2026-02-14T00:00Z"]


def test_the_fire_itself_is_not_after_itself() -> None:
    cron = parse_cron("0 12 * * *")
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    assert next_fire(cron, ZoneInfo("UTC"), noon) == datetime(2026, 5, 2, 12, tzinfo=UTC)


def test_leap_days_are_found_and_impossible_ones_are_told() -> None:
    utc = ZoneInfo("UTC")
    assert _next("0 0 29 2 *", utc, "2026-01-01T00:00+00:00") == ["2028-02-29T00:00Z"]
    with pytest.raises(ConfigError, match="never fires"):
        next_fire(parse_cron("0 0 30 2 *"), utc, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("* * * *", "4 fields, expected 5"),
        ("60 * * * *", "minute '60': expected a number from 0 to 59"),
        ("* 24 * * *", "hour '24'"),
        ("* * 0 * *", "day of month '0'"),
        ("* * * foo *", "month 'foo'"),
        ("*/0 * * * *", "expected a number from 1"),
        ("30-10 * * * *", "expected a range that rises"),
    ],
)
def test_mistakes_are_named(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        parse_cron(text)
