"""Sessions from start to finish, credits, limits and refusals, on an engine without threads."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from services import contract
from services.client.decode import decode_jpeg
from services.contract import ErrorCode
from services.inference.engine import Engine, EngineConfig
from services.inference.fake_generator import FakeRelease, FakeSession, FakeWorld, fake_colour
from services.inference.generator import Frames
from services.inference.request import Request
from worldloom.actions import Actions


def test_session_goes_from_start_to_finish(make_bench) -> None:
    bench = make_bench()
    sink = bench.open("a", world="other", seed=5)
    bench.run()
    ready = sink.last
    assert isinstance(ready, contract.SessionReady)
    assert (ready.world, ready.frames_per_segment, ready.height) == ("other", 12, 8)
    assert sink.responses[0].frame_index == (0,)
    received = bench.act("a", 0, 12).last
    assert isinstance(received, contract.ActionsReceived)
    assert (received.num_actions, received.num_queued_actions) == (12, 12)
    bench.run()
    frames = sink.responses[1]
    assert isinstance(frames.event, contract.FramesEvent)
    assert frames.frame_index == tuple(range(1, 13))
    assert frames.action_index == tuple(range(12))
    for index, jpeg in zip(frames.frame_index, frames.frames, strict=True):
        colour = decode_jpeg(jpeg).mean(axis=(0, 1))
        assert np.abs(colour - fake_colour(index, 0.0, 5)).max() < 3
    bench.send(contract.SessionStop(session_id="a", finish_queue=True))
    bench.run()
    assert sink.last == contract.SessionEnd(session_id="a", reason="finished", num_frames=12)
    assert sink.is_complete
    assert bench.engine.num_sessions == 0


def test_finish_fills_up_the_last_segment_and_sends_no_frame_too_many(make_bench) -> None:
    bench = make_bench()
    sink = bench.open("a")
    bench.run()
    bench.act("a", 0, 15)
    bench.run()
    assert len(sink.responses) == 2
    bench.send(contract.SessionStop(session_id="a", finish_queue=True))
    bench.run()
    assert sink.responses[2].frame_index == (13, 14, 15)
    assert sink.last == contract.SessionEnd(session_id="a", reason="finished", num_frames=15)


def test_reader_that_acknowledges_nothing_gets_two_segments(make_bench) -> None:
    bench = make_bench()
    sink = bench.open("a")
    bench.act("a", 0, 120)
    bench.run()
    assert sum(isinstance(event, contract.FramesEvent) for event in sink.events) == 2
    bench.send(contract.FramesReceived(session_id="a", segment_index=0))
    bench.run()
    assert sum(isinstance(event, contract.FramesEvent) for event in sink.events) == 3


def test_segment_that_was_never_sent_cannot_be_acknowledged(make_bench) -> None:
    bench = make_bench()
    bench.open("a")
    bench.run()
    refused = bench.send(contract.FramesReceived(session_id="a", segment_index=0)).last
    assert isinstance(refused, contract.ErrorEvent)
    assert "segment_index is 0" in refused.message


def test_acknowledgement_after_the_end_is_no_error(make_bench) -> None:
    bench = make_bench()
    sink = bench.send(contract.FramesReceived(session_id="gone", segment_index=3))
    assert sink.last == contract.Acknowledged(session_id="gone")


def test_cancelled_session_frees_its_slot_within_one_step(make_bench) -> None:
    bench = make_bench(num_slots=1)
    sink = bench.open("a")
    bench.act("a", 0, 120)
    bench.engine.step()
    refused = bench.open("b").last
    assert isinstance(refused, contract.ErrorEvent)
    assert refused.code is ErrorCode.NO_FREE_SLOT
    assert refused.retryable
    sink.is_gone = True
    bench.engine.step()
    assert bench.engine.num_sessions == 0
    bench.engine.deliver_pending()
    assert sink.is_complete
    assert not bench.open("b").responses


def test_silent_session_is_ended(make_bench) -> None:
    bench = make_bench(max_idle_seconds=10.0)
    sink = bench.open("a")
    bench.run()
    bench.clock.now = 9.0
    bench.run()
    assert bench.engine.num_sessions == 1
    bench.act("a", 0, 1)
    bench.clock.now = 18.0
    bench.run()
    assert bench.engine.num_sessions == 1
    bench.clock.now = 20.0
    bench.run()
    assert sink.last == contract.SessionEnd(session_id="a", reason="idle", num_frames=0)


def test_old_session_is_ended(make_bench) -> None:
    bench = make_bench(max_session_seconds=30.0)
    sink = bench.open("a")
    for seconds in range(0, 40, 10):
        bench.clock.now = float(seconds)
        bench.act("a", seconds // 10, 1)
        bench.run()
    bench.clock.now = 31.0
    bench.run()
    assert sink.last == contract.SessionEnd(session_id="a", reason="too_long", num_frames=0)


def test_session_whose_frames_run_out_first_is_served_first(make_bench) -> None:
    bench = make_bench(max_unacknowledged_segments=100)
    early, late = bench.open("early"), bench.open("late")
    bench.run()
    bench.act("early", 0, 24)
    bench.run()
    bench.act("early", 24, 12)
    bench.act("late", 0, 12)
    bench.engine.step()
    bench.engine.deliver_pending()
    assert isinstance(late.last, contract.FramesEvent)
    assert len(early.responses) == 3


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        ({"keyboard": np.zeros((12, 5), np.float32)}, r"keyboard has shape [12, 5]"),
        ({"keyboard": np.zeros((6,), np.float32)}, r"keyboard has shape [6]"),
        ({"keyboard": np.zeros((12, 6), np.float32)}, "mouse is missing"),
        (
            {"keyboard": np.zeros((12, 6)), "mouse": np.zeros((12, 3))},
            "mouse has shape [12, 3], expected [any, 2]",
        ),
        (
            {"keyboard": np.zeros((12, 6)), "mouse": np.zeros((11, 2))},
            "keyboard has 12 frames and mouse 11",
        ),
        ({"keyboard": np.zeros((1, 6)), "mouse": np.full((1, 2), np.nan)}, "mouse holds a value"),
    ],
)
def test_wrong_actions_are_refused_and_the_session_goes_on(
    make_bench, tensors: dict[str, np.ndarray], named: str
) -> None:
    bench = make_bench()
    bench.open("a")
    bench.run()
    message = contract.ActionsMessage(session_id="a", action_index=0)
    refused = bench.send(message, tensors).last
    assert isinstance(refused, contract.ErrorEvent)
    assert refused.code is ErrorCode.BAD_TENSOR
    assert named in refused.message
    assert isinstance(bench.act("a", 0).last, contract.ActionsReceived)


@pytest.mark.parametrize(
    ("tensors", "code", "named"),
    [
        ({"keyboard": np.array([["w"] * 6]), "mouse": np.zeros((1, 2))}, "bad_tensor", "holds <U1"),
        ({"keyboard": np.full((1, 6), 1j), "mouse": np.zeros((1, 2))}, "bad_tensor", "complex128"),
        ({"keyboard": np.zeros((1, 6)), "mouse": np.full((1, 2), 1e300)}, "bad_tensor", "mouse"),
        ({"keyboard": np.zeros((1, 6)), "mouse": np.full((1, 2), np.inf)}, "bad_tensor", "mouse"),
        ({"keyboard": np.full((1, 6), 2.0), "mouse": np.zeros((1, 2))}, "bad_tensor", "keyboard"),
        ({"keyboard": np.zeros((0, 6)), "mouse": np.zeros((0, 2))}, "bad_tensor", "[0, 6]"),
        (
            {"keyboard": np.zeros((10_000, 6)), "mouse": np.zeros((10_000, 2))},
            "too_many_actions",
            "10000 actions came at once, expected at most 4096",
        ),
    ],
)
def test_malformed_tensor_gets_its_code(make_bench, tensors, code, named) -> None:
    bench = make_bench()
    bench.open("a")
    message = contract.ActionsMessage(session_id="a", action_index=0)
    refused = bench.send(message, tensors).last
    assert isinstance(refused, contract.ErrorEvent)
    assert refused.code == code
    assert named in refused.message
    assert isinstance(bench.act("a", 0).last, contract.ActionsReceived)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "bad_message"),
        (b"\xff\xfe", "bad_message"),
        (b"[" * 60_000, "bad_message"),
        (b'{"type": "session_start", "session_id": "' + b"x" * 70_000 + b'"}', "too_large"),
        (b'{"type": "session_start", "session_id": "a", "seed": 1e999}', "bad_message"),
        (b'{"type": "unheard_of"}', "bad_message"),
    ],
)
def test_message_that_is_none_gets_its_code(make_bench, new_sink, text, code) -> None:
    bench, sink = make_bench(), new_sink()
    bench.engine.submit(Request(text), sink)
    assert isinstance(sink.last, contract.ErrorEvent)
    assert sink.last.code == code
    assert sink.is_complete
    assert bench.engine.num_sessions == 0


def test_image_of_another_type_is_refused(make_bench) -> None:
    image = np.zeros((8, 8, 3), np.float32)
    refused = make_bench().send(contract.SessionStart(session_id="a"), {"image": image}).last
    assert isinstance(refused, contract.ErrorEvent)
    assert "image holds float32, expected uint8" in refused.message


def test_fault_of_the_server_is_one_sentence_without_a_trace(make_bench) -> None:
    bench = make_bench()
    bench.engine._reception._config = None
    answer = bench.send(contract.Describe()).last
    assert isinstance(answer, contract.ErrorEvent)
    assert answer.code is ErrorCode.INTERNAL
    assert "Error" not in answer.message


class FailingSink:
    """A client's stream that is broken in every way."""

    def send(self, response, *, is_last=False):
        message = f"no {response} can be sent {is_last}"
        raise OSError(message)

    def is_cancelled(self):
        message = "nobody knows"
        raise OSError(message)

    def close(self):
        message = "it cannot even be closed"
        raise OSError(message)


def test_stream_that_fails_harms_no_other(make_bench) -> None:
    bench = make_bench()
    start = contract.SessionStart(session_id="broken", is_resumable=True)
    bench.engine.submit(Request(contract.to_json(start)), FailingSink())
    bench.engine.submit(Request(contract.to_json(contract.Describe())), FailingSink())
    sound = bench.open("sound")
    bench.run()
    bench.act("sound", 0, 12)
    bench.run()
    assert len(sound.segments) == 1
    assert (bench.engine.num_sessions, bench.engine.num_parked) == (1, 1)


def test_gap_in_the_actions_is_refused(make_bench) -> None:
    bench = make_bench()
    bench.open("a")
    refused = bench.act("a", 12).last
    assert isinstance(refused, contract.ErrorEvent)
    assert "action_index is 12, expected 0" in refused.message


def test_queue_of_actions_is_bounded(make_bench) -> None:
    bench = make_bench(max_queued_actions=20)
    bench.open("a")
    bench.act("a", 0, 15)
    refused = bench.act("a", 15, 6).last
    assert isinstance(refused, contract.ErrorEvent)
    assert refused.code is ErrorCode.TOO_MANY_ACTIONS


def test_unknown_world_is_refused_with_the_known_ones(make_bench) -> None:
    refused = make_bench().open("a", world="atlantis").last
    assert isinstance(refused, contract.ErrorEvent)
    assert refused.code is ErrorCode.UNKNOWN_WORLD
    assert "grey, other" in refused.message


def test_own_image_must_have_the_size_of_the_release(make_bench) -> None:
    bench = make_bench()
    start = contract.SessionStart(session_id="a")
    refused = bench.send(start, {"image": np.zeros((8, 9, 3), np.uint8)}).last
    assert isinstance(refused, contract.ErrorEvent)
    assert "image has shape [8, 9, 3], expected [8, 8, 3]" in refused.message
    sink = bench.send(start, {"image": np.full((8, 8, 3), 200, np.uint8)})
    bench.run()
    ready = sink.last
    assert isinstance(ready, contract.SessionReady)
    assert ready.world == ""
    assert abs(int(decode_jpeg(sink.responses[0].frames[0]).mean()) - 200) < 3


def test_session_id_cannot_be_taken_twice(make_bench) -> None:
    bench = make_bench()
    bench.open("a")
    refused = bench.open("a").last
    assert isinstance(refused, contract.ErrorEvent)
    assert refused.code is ErrorCode.SESSION_EXISTS


class BreakingSession(FakeSession):
    """Fails on its first segment."""

    def generate_segment(self, actions: Actions) -> Frames:
        message = f"no more memory for {len(actions)} frames"
        raise RuntimeError(message)


class BreakingRelease(FakeRelease):
    """A release whose sessions with seed 1 break."""

    def open_session(self, *, seed: int, **start: object) -> FakeSession:
        if seed == 1:
            return BreakingSession(8, 8, seed, 0.0)
        return super().open_session(seed=seed, **start)


def test_session_that_breaks_takes_no_other_with_it(make_bench) -> None:
    bench = make_bench(BreakingRelease(8, 8))
    broken, sound = bench.open("a", seed=1), bench.open("b")
    bench.act("a", 0)
    bench.act("b", 0)
    bench.run()
    error, end = broken.events[-2:]
    assert isinstance(error, contract.ErrorEvent)
    assert error.code is ErrorCode.GENERATION_FAILED
    assert "no more memory" in error.message
    assert end == contract.SessionEnd(session_id="a", reason="failed", num_frames=0)
    assert isinstance(sound.last, contract.FramesEvent)
    assert bench.engine.num_sessions == 1


def test_stop_ends_every_session_and_threads(new_sink) -> None:
    engine = Engine(FakeRelease(8, 8), EngineConfig())
    engine.start()
    sink = new_sink()
    start = contract.SessionStart(session_id="a")
    engine.submit(Request(contract.to_json(start)), sink)
    engine.stop()
    assert sink.is_complete
    assert sink.last == contract.SessionEnd(session_id="a", reason="shutdown", num_frames=0)
    refused = new_sink()
    engine.submit(Request(contract.to_json(start)), refused)
    assert isinstance(refused.last, contract.ErrorEvent)
    assert refused.last.code is ErrorCode.SHUTTING_DOWN


def test_description_counts_sessions(make_bench) -> None:
    bench = make_bench(num_slots=3)
    bench.open("a")
    description = bench.send(contract.Describe()).last
    assert isinstance(description, contract.Description)
    assert (description.num_sessions, description.num_slots) == (1, 3)
    assert [world.name for world in description.worlds] == ["grey", "other"]


def test_description_shows_the_worlds_when_asked(make_bench) -> None:
    bench = make_bench()
    plain, shown = (
        bench.send(contract.Describe(with_images=wanted)).last.worlds for wanted in (False, True)
    )
    assert [world.image for world in plain] == ["", ""]
    for world in shown:
        assert np.abs(decode_jpeg(base64.b64decode(world.image)).astype(int) - 128).max() < 3


class TiltedRelease(FakeRelease):
    """A release whose world looks up, and that tells what its sessions began with."""

    @property
    def worlds(self) -> tuple[FakeWorld, ...]:
        return (FakeWorld("tilted", "a roof", np.zeros((8, 8, 3), np.uint8), 0.25),)

    def open_session(self, **start: object) -> FakeSession:
        session = super().open_session(**start)
        session.seed = round(100 * start["pitch_radians"])
        return session


def test_session_begins_with_the_pitch_of_its_world_but_not_in_an_image_of_its_own(
    make_bench,
) -> None:
    bench = make_bench(TiltedRelease(8, 8))
    for session_id, tensors in (("a", {}), ("b", {"image": np.zeros((8, 8, 3), np.uint8)})):
        bench.send(contract.SessionStart(session_id=session_id), tensors)
    bench.run()
    sessions = bench.engine._sessions
    assert [sessions.get(name).generator.seed for name in "ab"] == [25, 0]


def test_frames_come_in_the_encoding_that_was_asked_for(make_bench) -> None:
    bench = make_bench(FakeRelease(16, 16))
    sink = bench.open("a", encoding="h264", is_resumable=True)
    bench.act("a", 0, 12)
    bench.run()
    assert sink.events[0].encoding == "h264"
    assert all(unit.startswith(b"\0\0\0\1") for unit in sink.frames.values())
    again = bench.resume("a", 0)
    bench.run()
    assert again.events[0].encoding == "jpeg"
    assert all(jpeg.startswith(b"\xff\xd8") for jpeg in again.frames.values())


def test_encoding_that_the_size_forbids_is_refused_and_not_offered(make_bench) -> None:
    bench = make_bench(FakeRelease(8, 9))
    refused = bench.open("a", encoding="h264").last
    assert isinstance(refused, contract.ErrorEvent)
    assert "encoding h264 needs an even height and width, not 8x9" in refused.message
    assert bench.send(contract.Describe()).last.encodings == ("jpeg",)
    assert make_bench().send(contract.Describe()).last.encodings == ("jpeg", "h264")


def test_resumed_session_sends_the_bytes_of_an_undisturbed_one(make_bench) -> None:
    bench = make_bench(FakeRelease(16, 16))
    sinks = [bench.open(name, encoding="h264", is_resumable=True) for name in "ab"]
    for name in "ab":
        bench.act(name, 0, 24)
    bench.run()
    sinks[1].is_gone = True
    bench.run()
    again = bench.resume("b", 12, encoding="h264")
    bench.run()
    assert again.frames == {i: sinks[0].frames[i] for i in range(13, 25)}
