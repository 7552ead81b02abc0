"""What happens between the look at a session and the taking of its state."""

from __future__ import annotations

from services import contract


def test_session_that_is_continued_in_time_keeps_its_slot(make_bench) -> None:
    bench = make_bench(park_after_seconds=5.0)
    sink = bench.open("a")
    bench.run()
    bench.send(contract.SessionPause(session_id="a"))
    bench.clock.now = 6.0
    reaper = bench.engine._device._reaper
    [leaving] = reaper.leaving()
    assert leaving.reason is None
    bench.send(contract.SessionContinue(session_id="a"))
    reaper.put_away(leaving.session, leaving.reason)
    leaving.session.is_busy = False
    assert bench.engine.num_sessions == 1
    bench.act("a", 0, 12)
    bench.run()
    assert len(sink.segments) == 1


def test_session_that_is_resumed_in_time_is_not_parked(make_bench) -> None:
    bench = make_bench()
    old = bench.open("a", is_resumable=True)
    bench.run()
    old.is_gone = True
    reaper = bench.engine._device._reaper
    [leaving] = reaper.leaving()
    assert leaving.reason == "cancelled"
    new = bench.resume("a", 0)
    reaper.put_away(leaving.session, leaving.reason)
    leaving.session.is_busy = False
    bench.run()
    assert (bench.engine.num_sessions, bench.engine.num_parked) == (1, 0)
    assert isinstance(new.last, contract.SessionReady)
    assert old.last.reason == "taken_over"


def test_session_over_the_age_limit_is_over_even_if_it_could_be_resumed(make_bench) -> None:
    bench = make_bench(max_session_seconds=10.0)
    sink = bench.open("a", is_resumable=True)
    bench.run()
    bench.clock.now = 11.0
    bench.run()
    assert sink.last.reason == "too_long"
    assert bench.engine.num_parked == 0


def test_silent_session_is_parked_where_it_can_be_resumed(make_bench) -> None:
    bench = make_bench(max_idle_seconds=10.0)
    sink = bench.open("a", is_resumable=True)
    bench.run()
    bench.clock.now = 11.0
    bench.run()
    assert sink.last.reason == "idle"
    assert (bench.engine.num_sessions, bench.engine.num_parked) == (0, 1)
