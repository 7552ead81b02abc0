"""What the engine counts while sessions come, play, are late and go."""

from __future__ import annotations

import math

import pytest

from services import contract
from services.inference.engine import Engine
from services.inference.engine_config import EngineConfig
from services.inference.fake_generator import FakeRelease
from services.inference.metrics import RecordedMetrics
from services.inference.session_store import FolderSessionStore
from worldloom.errors import StoreError


@pytest.fixture
def measured(make_bench):
    """Return a bench and the values of its metrics."""

    def make(**parts):
        metrics = RecordedMetrics()
        bench = make_bench(**{k: v for k, v in parts.items() if k not in {"store"}})
        bench.engine = Engine(
            parts.get("release", FakeRelease(8, 8)),
            EngineConfig(num_slots=3),
            metrics=metrics,
            store=parts.get("store"),
            clock=bench.clock,
        )
        return bench, metrics.values

    return make


def test_fullness_is_told(measured) -> None:
    bench, values = measured()
    sinks = [bench.open(name, is_resumable=True) for name in "ab"]
    bench.act("a", 0, 5)
    bench.run()
    bench.clock.now = 1.0
    bench.run()
    assert (values["slots"], values["sessions"], values["parked_sessions"]) == (3, 2, 0)
    assert values["queued_actions"] == 5
    for sink in sinks:
        sink.is_gone = True
    bench.run()
    assert (values["sessions"], values["parked_sessions"]) == (0, 2)
    assert values["sessions_ended_total/cancelled"] == 2
    bench.resume("a", 0)
    bench.run()
    assert (values["sessions_opened_total"], values["sessions_resumed_total"]) == (2, 1)
    assert values["first_frame_seconds_count"] == 3


class SlowRelease(FakeRelease):
    """A release on which a segment takes time of the test's clock."""

    def open_session(self, **start):
        session = super().open_session(**start)
        generate = session.generate_segment

        def slowly(actions):
            self.__dict__["clock"].now += self.__dict__["seconds"]
            return generate(actions)

        session.generate_segment = slowly
        return session


def test_late_segments_and_slack_are_counted(measured) -> None:
    release = SlowRelease(8, 8)
    bench, values = measured(release=release)
    release.__dict__.update(clock=bench.clock, seconds=0.25)
    sink = bench.open("a")
    bench.run()
    bench.act("a", 0, 12)
    bench.run()
    # A segment plays for 0.75 s, and a player begins one segment ahead.
    assert sink.segments[-1].slack_seconds == pytest.approx(0.5)
    assert sink.segments[-1].segment_seconds == pytest.approx(0.25)
    assert "deadline_misses_total" not in values
    release.__dict__.update(seconds=1.0)
    bench.acknowledge("a", 0)
    bench.act("a", 12, 12)
    bench.run()
    # 0.75 s were left to play, and the segment took a second.
    assert sink.segments[-1].slack_seconds == pytest.approx(-0.25)
    assert values["deadline_misses_total"] == 1
    bench.clock.now += 1.0
    bench.run()
    assert values["min_slack_seconds"] == pytest.approx(-0.25)
    assert values["frames_total"] == 24
    assert values["action_to_frame_seconds_sum"] == pytest.approx(1.25)


def test_wait_for_the_device_is_told(measured) -> None:
    release = SlowRelease(8, 8)
    bench, _ = measured(release=release)
    release.__dict__.update(clock=bench.clock, seconds=0.25)
    sinks = [bench.open(name) for name in "ab"]
    bench.run()
    for name in "ab":
        bench.act(name, 0, 12)
    bench.run()
    assert [sink.segments[0].waited_seconds for sink in sinks] == pytest.approx([0.0, 0.25])


def test_player_whose_actions_came_late_is_no_missed_deadline(measured) -> None:
    bench, values = measured()
    sink = bench.open("a")
    bench.run()
    bench.act("a", 0, 12)
    bench.run()
    bench.acknowledge("a", 0)
    bench.clock.now = 30.0
    bench.act("a", 12, 12)
    bench.run()
    assert sink.segments[-1].slack_seconds == pytest.approx(0.75)
    assert "deadline_misses_total" not in values


def test_nobody_there_is_endless_slack(measured) -> None:
    bench, values = measured()
    sink = bench.open("a")
    bench.act("a", 0, 12)
    bench.run()
    bench.clock.now = 1.0
    bench.run()
    assert values["min_slack_seconds"] < 1
    sink.is_gone = True
    bench.run()
    assert math.isinf(values["min_slack_seconds"])


class RefusingStore(FolderSessionStore):
    """A store that refuses."""

    def write(self, session_id, name, data):
        message = f"{len(data)} bytes are too many"
        raise StoreError(message)


def test_failures_of_the_store_are_counted(measured, tmp_path) -> None:
    bench, values = measured(store=RefusingStore(tmp_path))
    bench.open("a", is_resumable=True)
    bench.run()
    bench.send(contract.SessionPause(session_id="a"))
    bench.clock.now = 5.0
    bench.run()
    assert values["store_failures_total"] == 2
