"""The cluster's UTC form fires at the same instants as the schedule itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from pipelines.cron import fires, parse_cron
from pipelines.recurring import RecurringRun, recurring_runs
from pipelines.schedule import Schedule
from worldloom.errors import ConfigError

START = datetime(2026, 1, 15, tzinfo=UTC)
END = START + timedelta(days=400)


def _instants_of(run: RecurringRun) -> set[datetime]:
    seconds, rest = run.cron_expression.split(" ", 1)
    assert seconds == "0"
    begin = datetime.fromisoformat(run.start_time) if run.start_time else START
    end = datetime.fromisoformat(run.end_time) if run.end_time else END
    found = set()
    for instant in fires(parse_cron(rest), ZoneInfo("UTC"), begin - timedelta(seconds=1)):
        if instant >= min(end, END):
            break
        found.add(instant)
    return found


@pytest.mark.parametrize(
    ("cron", "zone"),
    [
        ("30 9 * * *", "Europe/Berlin"),
        ("30 9 * * 1-5", "America/New_York"),
        ("15,45 0,23 * * sat", "Asia/Tokyo"),
        ("0 22 * * mon", "America/Los_Angeles"),
        ("10 1 * * *", "Asia/Kolkata"),
        ("0 12 1 * *", "Europe/Berlin"),
        ("*/30 * * * *", "Europe/London"),
        ("0 6 * * *", "UTC"),
    ],
)
def test_the_cluster_fires_when_the_schedule_does(cron: str, zone: str) -> None:
    schedule = Schedule(name="nightly", cron=cron, timezone=zone)
    there: set[datetime] = set()
    for run in recurring_runs(schedule, START):
        instants = _instants_of(run)
        assert not there & instants
        there |= instants
    here = set()
    for instant in fires(parse_cron(cron), ZoneInfo(zone), START - timedelta(seconds=1)):
        if instant >= END:
            break
        here.add(instant)
    assert there == here


def test_a_zone_without_clock_changes_is_one_run_without_end() -> None:
    (run,) = recurring_runs(Schedule(name="n", cron="0 9 * * *", timezone="Asia/Tokyo"), START)
    assert run.cron_expression == "0 0 0 * * *"
    assert run.start_time is None
    assert run.end_time is None
    assert run.max_concurrency == 1
    assert run.no_catchup


def test_what_utc_or_kfp_cannot_express_is_refused() -> None:
    first_of_month = Schedule(name="n", cron="0 0 1 * *", timezone="Asia/Tokyo")
    with pytest.raises(ConfigError, match="fall on other days"):
        recurring_runs(first_of_month, START)
    with pytest.raises(ConfigError, match="cannot replace a run"):
        recurring_runs(Schedule(name="n", cron="0 0 * * *", overlap="replace"), START)
