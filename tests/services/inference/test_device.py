"""Sessions that outlive their streams, on a fake release whose frames tell index, key and seed."""

from __future__ import annotations

import pytest

from services import contract
from services.contract import ErrorCode

FORWARD = (0.0, 1.0, 1.0, 0.0, 1.0)


def walk(bench, session_id, num_segments=5, start=0):
    """Send segments of actions, with a key pressed in some, and acknowledge what comes."""
    for segment in range(start, num_segments):
        bench.act(session_id, 12 * segment, 12, FORWARD[segment])
        bench.run()
        bench.acknowledge(session_id, segment)


@pytest.fixture
def undisturbed(make_bench) -> dict[int, bytes]:
    bench = make_bench()
    sink = bench.open("whole", seed=3)
    bench.run()
    walk(bench, "whole")
    assert sorted(sink.frames) == list(range(61))
    return sink.frames


@pytest.mark.parametrize("last_frame_index", [24, 20, 13, 12, 0])
def test_resumed_session_goes_on_with_the_frames_of_an_undisturbed_one(
    make_bench, undisturbed, last_frame_index
) -> None:
    bench = make_bench()
    sink = bench.open("a", seed=3, is_resumable=True)
    bench.run()
    walk(bench, "a", num_segments=2)
    sink.is_gone = True
    bench.run()
    assert (bench.engine.num_sessions, bench.engine.num_parked) == (0, 1)
    assert sink.is_complete
    assert sink.last == contract.SessionEnd(session_id="a", reason="cancelled", num_frames=24)

    again = bench.resume("a", last_frame_index)
    bench.run()
    ready = again.events[0]
    assert isinstance(ready, contract.SessionReady)
    assert (ready.is_resumed, again.responses[0].frames) == (True, ())
    assert ready.next_action_index == 24
    assert ready.next_segment_index == last_frame_index // 12
    bench.acknowledge("a", 1)
    walk(bench, "a", start=2)
    assert again.frames == {i: undisturbed[i] for i in range(last_frame_index + 1, 61)}
    assert (bench.engine.num_sessions, bench.engine.num_parked) == (1, 0)


def test_actions_that_waited_when_the_stream_broke_are_not_lost(make_bench, undisturbed) -> None:
    bench = make_bench()
    sink = bench.open("a", seed=3, is_resumable=True)
    for segment, forward in enumerate(FORWARD):
        bench.act("a", 12 * segment, 12, forward)
    bench.run()
    assert len(sink.segments) == 2
    sink.is_gone = True
    bench.run()
    again = bench.resume("a", 12)
    bench.run()
    assert again.events[0].next_action_index == 60
    for segment in range(1, 5):
        bench.acknowledge("a", segment)
        bench.run()
    assert again.frames == {i: undisturbed[i] for i in range(13, 61)}


def test_resume_takes_over_from_a_stream_that_still_hangs(make_bench, undisturbed) -> None:
    bench = make_bench(num_slots=1)
    old = bench.open("a", seed=3, is_resumable=True)
    bench.run()
    walk(bench, "a", num_segments=2)
    new = bench.resume("a", 18)
    bench.run()
    assert old.last == contract.SessionEnd(session_id="a", reason="taken_over", num_frames=24)
    assert old.is_complete
    walk(bench, "a", start=2)
    assert sorted(old.frames) == list(range(25))
    assert new.frames == {i: undisturbed[i] for i in range(19, 61)}
    assert bench.engine.num_sessions == 1


def test_session_that_was_parked_before_it_was_ready_begins_when_resumed(make_bench) -> None:
    bench = make_bench()
    sink = bench.open("a", is_resumable=True)
    sink.is_gone = True
    bench.run()
    assert bench.engine.num_parked == 1
    again = bench.resume("a", 0)
    bench.run()
    assert isinstance(again.last, contract.SessionReady)
    walk(bench, "a", num_segments=1)
    assert sorted(again.frames) == list(range(1, 13))


def test_session_that_did_not_ask_for_it_is_not_parked(make_bench) -> None:
    bench = make_bench()
    sink = bench.open("a")
    bench.run()
    refused = bench.resume("a", 0).last
    assert isinstance(refused, contract.ErrorEvent)
    assert refused.code is ErrorCode.WRONG_STATE
    sink.is_gone = True
    bench.run()
    assert bench.engine.num_parked == 0
    refused = bench.resume("a", 0).last
    assert isinstance(refused, contract.ErrorEvent)
    assert refused.code is ErrorCode.UNKNOWN_SESSION


def test_resume_waits_for_a_free_slot(make_bench) -> None:
    bench = make_bench(num_slots=1)
    sink = bench.open("a", is_resumable=True)
    sink.is_gone = True
    bench.run()
    other = bench.open("b")
    refused = bench.resume("a", 0).last
    assert isinstance(refused, contract.ErrorEvent)
    assert refused.code is ErrorCode.NO_FREE_SLOT
    other.is_gone = True
    bench.run()
    again = bench.resume("a", 0)
    bench.run()
    assert isinstance(again.last, contract.SessionReady)


def test_last_frames_that_were_not_acknowledged_can_be_fetched_again(
    make_bench, undisturbed
) -> None:
    bench = make_bench(last_acknowledgement_seconds=1.0)
    sink = bench.open("a", seed=3, is_resumable=True)
    bench.act("a", 0, 12)
    bench.act("a", 12, 3, 1.0)
    bench.send(contract.SessionStop(session_id="a", finish_queue=True))
    bench.run()
    assert not sink.is_complete  # the acknowledgement may be under way
    bench.clock.now = 2.0
    bench.run()
    assert sink.last == contract.SessionEnd(session_id="a", reason="finished", num_frames=15)
    again = bench.resume("a", 13)
    bench.run()
    bench.acknowledge("a", 1)
    bench.run()
    assert again.frames == {i: undisturbed[i] for i in (14, 15)}
    assert again.last == contract.SessionEnd(session_id="a", reason="finished", num_frames=15)
    assert (bench.engine.num_sessions, bench.engine.num_parked) == (0, 0)


def test_late_acknowledgement_of_the_last_frames_lets_go_of_a_finished_session(make_bench) -> None:
    bench = make_bench(last_acknowledgement_seconds=0.0)
    bench.open("a", is_resumable=True)
    bench.act("a", 0, 12)
    bench.send(contract.SessionStop(session_id="a", finish_queue=True))
    bench.run()
    assert bench.engine.num_parked == 1
    bench.acknowledge("a", 0)
    assert bench.engine.num_parked == 0


def test_stopping_a_parked_session_forgets_it(make_bench) -> None:
    bench = make_bench()
    sink = bench.open("a", is_resumable=True)
    sink.is_gone = True
    bench.run()
    bench.send(contract.SessionStop(session_id="a"))
    assert bench.engine.num_parked == 0


def test_paused_session_makes_no_frames_until_it_is_continued(make_bench) -> None:
    bench = make_bench()
    sink = bench.open("a")
    bench.run()
    assert isinstance(bench.send(contract.SessionPause(session_id="a")).last, contract.Acknowledged)
    bench.act("a", 0, 12)
    bench.run()
    assert not sink.segments
    bench.send(contract.SessionContinue(session_id="a"))
    bench.run()
    assert len(sink.segments) == 1


def test_long_pause_gives_the_slot_away_and_the_session_goes_on_as_it_would_have(
    make_bench, undisturbed
) -> None:
    bench = make_bench(num_slots=1, park_after_seconds=5.0)
    sink = bench.open("a", seed=3)
    bench.run()
    walk(bench, "a", num_segments=2)
    bench.send(contract.SessionPause(session_id="a"))
    bench.clock.now = 4.0
    bench.run()
    assert bench.engine.num_sessions == 1
    bench.clock.now = 5.0
    bench.run()
    assert (bench.engine.num_sessions, bench.engine.num_parked) == (0, 1)
    other = bench.open("b")
    refused = bench.send(contract.SessionContinue(session_id="a")).last
    assert isinstance(refused, contract.ErrorEvent)
    assert (refused.code, refused.retryable) == (ErrorCode.NO_FREE_SLOT, True)
    other.is_gone = True
    bench.run()
    assert isinstance(
        bench.send(contract.SessionContinue(session_id="a")).last, contract.Acknowledged
    )
    bench.run()
    walk(bench, "a", start=2)
    assert sink.frames == undisturbed


def test_pause_outlives_the_stream_and_is_told(make_bench) -> None:
    bench = make_bench()
    sink = bench.open("a", is_resumable=True)
    bench.run()
    bench.send(contract.SessionPause(session_id="a"))
    sink.is_gone = True
    bench.run()
    again = bench.resume("a", 0)
    bench.run()
    ready = again.last
    assert isinstance(ready, contract.SessionReady)
    assert ready.is_paused
    bench.act("a", 0, 12)
    bench.run()
    assert not again.segments


def test_generators_of_sessions_that_end_are_closed(make_bench) -> None:
    bench = make_bench()
    sinks = [bench.open(name, is_resumable=name == "a") for name in "abc"]
    bench.run()
    generators = [bench.engine._sessions.get(name).generator for name in "abc"]
    sinks[0].is_gone = sinks[1].is_gone = True
    bench.send(contract.SessionStop(session_id="c"))
    bench.run()
    assert all(generator.is_closed for generator in generators)
