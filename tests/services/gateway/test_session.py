"""Sessions over a real WebSocket, against the engine that draws patterns."""

from __future__ import annotations

import asyncio

import pytest

from services import protocol
from services.contract import ErrorCode
from services.gateway.settings import SessionLimits

pytestmark = pytest.mark.anyio


async def undisturbed(gateway, num_actions: int = 12) -> dict[int, bytes]:
    async with gateway() as running, running.connect() as player:
        await player.open()
        await player.act(0, num_actions)
        await player.until_frame(num_actions)
        return player.frames


async def test_a_session_opens_with_its_start_image_and_ends_as_asked(gateway) -> None:
    async with gateway() as running, running.connect() as player:
        ready = await player.open(seed=5)
        assert (ready.seed, ready.model_version, ready.world) == (5, "7", "pattern")
        assert player.frames[0].startswith(b"\xff\xd8")
        await player.act(0, 8)
        await player.send(protocol.Close(finish_queue=True))
        ended = await player.receive_a(protocol.Ended)
        assert (ended.reason, ended.num_frames) == ("finished", 8)
        assert sorted(player.frames) == list(range(9))
        assert await player.close_code() == protocol.CLOSE_NORMAL
        await running.until(lambda: len(running.parts.directory) == 0)
        assert running.engine.num_sessions == 0


async def test_actions_are_acknowledged_when_queued_and_with_the_frames_that_obey(gateway) -> None:
    async with gateway() as running, running.connect() as player:
        await player.open()
        await player.act(0, 4)
        received = await player.receive_a(protocol.ActionsReceived)
        assert (received.action_index, received.num_actions) == (0, 4)
        segment = await player.receive_a(protocol.Segment)
        assert (segment.first_action_index, segment.first_frame_index) == (0, 1)
        assert segment.action_to_frame_seconds > 0


async def test_a_slow_client_slows_its_own_world_only(gateway) -> None:
    async with gateway() as running, running.connect() as slow, running.connect() as other:
        await slow.open()
        await slow.act(0, 40)
        await slow.until_frame(8, credit=False)  # two segments without a credit
        await other.open()
        await other.act(0, 40)
        await other.until_frame(40)
        assert max(slow.frames) == 8
        await slow.send(protocol.FramesReceived(segment_index=1))
        await slow.until_frame(16, credit=False)


async def test_a_pause_stops_frames_and_gives_the_slot_away(gateway, engine_config) -> None:
    one_slot = engine_config.model_copy(update={"num_slots": 1})
    async with gateway(engine=one_slot) as running, running.connect() as player:
        await player.open()
        await player.send(protocol.Pause())
        await player.receive_a(protocol.Paused)
        async with running.connect() as other:
            await other.open()
            await other.send(protocol.Close())
            await other.receive_a(protocol.Ended)
        await running.until(lambda: len(running.parts.directory) == 1)
        await player.send(protocol.Continue())
        await player.receive_a(protocol.Continued)
        await player.act(0, 4)
        await player.until_frame(4)


async def test_a_dropped_session_goes_on_with_the_same_frames(gateway) -> None:
    expected = await undisturbed(gateway)
    async with gateway() as running:
        async with running.connect() as player:
            first = await player.open()
            await player.act(0, 6)
            await player.until_frame(4)
            frames = dict(player.frames)
        async with running.connect() as again:
            ready = await again.resume(first.resume_token, max(frames))
            assert ready.is_resumed
            assert ready.session_id == first.session_id
            await again.act(ready.next_action_index, 12 - ready.next_action_index)
            await again.until_frame(12)
        assert frames | again.frames == expected


async def test_a_resume_token_works_once(gateway) -> None:
    async with gateway() as running:
        async with running.connect() as player:
            first = await player.open()
        async with running.connect() as again, running.connect() as thief:
            second = await again.resume(first.resume_token, 0)
            assert second.resume_token != first.resume_token
            await thief.send(protocol.Resume(resume_token=first.resume_token, last_frame_index=0))
            error = await thief.receive()
            assert (error.code, error.is_fatal) == (ErrorCode.REPLAYED_TOKEN, True)
            assert await thief.close_code() == protocol.CLOSE_UNAUTHORIZED
            await again.act(0, 4)
            await again.until_frame(4)


async def test_a_client_that_resumes_takes_over_from_its_own_hanging_connection(gateway) -> None:
    async with gateway() as running, running.connect() as hanging, running.connect() as again:
        first = await hanging.open()
        await again.resume(first.resume_token, 0)
        assert (await hanging.receive()).reason == "taken_over"
        await again.act(0, 4)
        await again.until_frame(4)


async def test_a_lost_engine_is_made_up_for_without_the_client(gateway) -> None:
    expected = await undisturbed(gateway)
    async with gateway() as running, running.connect() as player:
        await player.open()
        await player.act(0, 6)
        await player.until_frame(4)
        running.engine.die()
        notice = await player.receive_a(protocol.Notice)
        assert notice.kind == "backend_lost"
        await player.act(6, 6)
        running.engine.revive()
        await player.until_frame(12)
        assert player.frames == expected
        assert player.receipts == [0, 6]


@pytest.mark.slow
async def test_an_engine_that_stays_away_leaves_the_session_to_be_resumed(gateway, config) -> None:
    limits = config.limits.model_copy(update={"recover_seconds": 0.2})
    impatient = config.model_copy(update={"limits": limits})
    async with gateway(impatient) as running:
        async with running.connect() as player:
            first = await player.open()
            await player.act(0, 4)
            await player.until_frame(4)
            running.engine.die()
            await player.receive_a(protocol.Notice)
            error = await player.receive()
            assert (error.code, error.is_retryable) == (ErrorCode.NO_BACKEND, True)
            assert await player.close_code() == protocol.CLOSE_NO_BACKEND
        running.engine.revive()
        await running.until(lambda: running.parts.pool.is_any_up)
        async with running.connect() as again:
            ready = await again.resume(first.resume_token, 4)
            await again.act(ready.next_action_index, 4)
            await again.until_frame(8)


@pytest.mark.slow
async def test_a_frozen_engine_loses_no_session(gateway) -> None:
    async with gateway() as running, running.connect() as player:
        await player.open()
        running.engine.freeze()
        await player.act(0, 4)
        await running.until(lambda: not next(iter(running.parts.pool)).is_up)
        running.engine.thaw()
        await player.until_frame(4)


async def test_late_frames_are_left_out_and_counted(gateway, config, engine_config) -> None:
    limits = config.limits.model_copy(update={"late_seconds": 0.2, "max_late_frames": 8})
    big = engine_config.model_copy(update={"frame_bytes": 200_000})
    # A small buffer on the client's side, and nobody who reads it.
    changed = config.model_copy(update={"limits": limits})
    async with gateway(changed, big) as running, running.connect(max_queue=1) as player:
        await player.open(late_frames="drop")
        for start in range(0, 400, 40):
            await player.act(start, 40)
        outbox_metric = running.parts.metrics.dropped_frames
        await running.until(lambda: outbox_metric._value.get() > 100)
        await player.until_frame(400, credit=False)
        assert len(player.frames) < 300


@pytest.mark.slow
async def test_a_client_that_takes_nothing_is_dropped(gateway, config, engine_config) -> None:
    limits = config.limits.model_copy(update={"stuck_seconds": 0.3})
    big = engine_config.model_copy(update={"frame_bytes": 4_000_000})
    changed = config.model_copy(update={"limits": limits})
    async with (
        gateway(changed, big) as running,
        running.connect(max_queue=1, close_timeout=0.1) as stuck,
    ):
        await stuck.open()
        await stuck.act(0, 400)
        await running.until(lambda: len(running.parts.directory) == 0)
        await running.until(lambda: running.engine.num_sessions == 0)


@pytest.mark.slow
async def test_silence_ends_a_session_after_a_notice(gateway, config) -> None:
    limits = SessionLimits(max_idle_seconds=0.9, notice_seconds=0.6)
    changed = config.model_copy(update={"limits": limits})
    async with gateway(changed) as running, running.connect() as player:
        await player.open()
        notice = await player.receive_a(protocol.Notice)
        assert notice.kind == "idle"
        ended = await player.receive_a(protocol.Ended)
        assert ended.reason == "idle"
        assert running.engine.num_sessions == 0


async def test_messages_that_do_not_belong_are_refused_and_the_session_goes_on(gateway) -> None:
    async with gateway() as running, running.connect() as player:
        await player.open()
        for message, code in [
            ({"type": "open"}, ErrorCode.WRONG_STATE),
            ({"type": "continue"}, ErrorCode.WRONG_STATE),
            ({"type": "nothing"}, ErrorCode.BAD_MESSAGE),
            ("{", ErrorCode.BAD_MESSAGE),
            (b"bytes", ErrorCode.BAD_MESSAGE),
            ("x" * 300_000, ErrorCode.TOO_LARGE),
            ({"type": "actions", "action_index": 0, "keyboard": [[0] * 6] * 600,
              "mouse": [[0, 0]] * 600}, ErrorCode.TOO_MANY_ACTIONS),
            ({"type": "actions", "action_index": 0, "keyboard": [[0] * 6],
              "mouse": [[0, 0]] * 2}, ErrorCode.BAD_TENSOR),
            ({"type": "actions", "action_index": 7, "keyboard": [[0] * 6],
              "mouse": [[0, 0]]}, ErrorCode.BAD_MESSAGE),
            ('{"type": "actions", "action_index": 0, "keyboard": [[0, 0, 0, 0, 0, 0]],'
             ' "mouse": [[NaN, 0]]}', ErrorCode.BAD_MESSAGE),
        ]:  # fmt: skip
            await player.send(message)
            error = await player.receive()
            assert (error.code, error.is_fatal) == (code, False), message
            is_read = isinstance(message, dict) and message["type"] != "nothing"
            assert error.refused == (message["type"] if is_read else "")
        await player.act(0, 4)
        await player.until_frame(4)


@pytest.mark.parametrize(
    ("first", "code", "close_code"),
    [
        ({"type": "open", "version": 2}, ErrorCode.UNSUPPORTED_VERSION, protocol.CLOSE_REFUSED),
        ({"type": "open", "world": "no"}, ErrorCode.UNKNOWN_WORLD, protocol.CLOSE_NOT_FOUND),
        ({"type": "open", "release": "8"}, ErrorCode.UNKNOWN_RELEASE, protocol.CLOSE_NOT_FOUND),
        ({"type": "open", "image": "//"}, ErrorCode.BAD_IMAGE, protocol.CLOSE_REFUSED),
        ({"type": "pause"}, ErrorCode.WRONG_STATE, protocol.CLOSE_REFUSED),
        ({"type": "resume", "resume_token": "x", "last_frame_index": 0},
         ErrorCode.BAD_TOKEN, protocol.CLOSE_UNAUTHORIZED),
        ("[]", ErrorCode.BAD_MESSAGE, protocol.CLOSE_REFUSED),
    ],
)  # fmt: skip
async def test_a_wrong_beginning_gets_its_code(gateway, first, code, close_code) -> None:
    async with gateway() as running, running.connect() as player:
        await player.send(first)
        error = await player.receive()
        assert (error.code, error.is_fatal) == (code, True)
        assert await player.close_code() == close_code
        await running.until(lambda: len(running.parts.directory) == 0)


async def test_a_foreign_subprotocol_is_refused(gateway) -> None:
    async with gateway() as running, running.connect(subprotocols=["worldloom.v9"]) as player:
        assert (await player.receive()).code == ErrorCode.UNSUPPORTED_VERSION


async def test_those_who_wait_are_told_their_place_and_come_in_order(
    gateway, engine_config
) -> None:
    one_slot = engine_config.model_copy(update={"num_slots": 1})
    async with (
        gateway(engine=one_slot) as running,
        running.connect() as first,
        running.connect() as second,
        running.connect() as third,
    ):
        await first.open()
        await second.send(protocol.Open())
        assert (await second.receive()).position == 1
        await third.send(protocol.Open())
        assert (await third.receive()).position == 2
        await first.send(protocol.Close())
        await second.receive_a(protocol.Ready)
        assert (await third.receive()).position == 1
        await third.send(protocol.Close())
        assert (await third.receive()).reason == "stopped"
        assert running.parts.admission.length == 0


async def test_a_fault_of_the_gateway_is_told_without_its_trace(gateway) -> None:
    class Broken:
        async def admit(self) -> None: ...

    async with gateway() as running, running.connect() as player:
        object.__setattr__(running.parts, "quota", Broken())
        await player.send(protocol.Open())
        error = await player.receive()
        assert error.code == ErrorCode.INTERNAL
        assert "Traceback" not in error.message
        assert "Broken" not in error.message
        assert await player.close_code() == protocol.CLOSE_FAILED


async def test_many_clients_that_come_and_go_leave_nothing_behind(gateway) -> None:
    async with gateway() as running:

        async def come_and_go(k: int) -> None:
            async with running.connect() as player:
                await player.send(protocol.Open())
                if k % 3:
                    await player.receive()
                if k % 3 == 2:
                    await player.act(0, 8)

        await asyncio.gather(*(come_and_go(k) for k in range(30)))
        await running.until(lambda: len(running.parts.directory) == 0)
        await running.until(lambda: running.engine.num_sessions == 0)
        assert next(iter(running.parts.pool)).num_sessions == 0
        assert running.parts.quota.num_sessions("anonymous") == 0


@pytest.mark.slow
async def test_no_frame_is_repeated_however_often_the_engine_is_lost(
    gateway, engine_config
) -> None:
    expected = await undisturbed(gateway, 16)
    seldom = engine_config.model_copy(update={"durable_segments": 2})
    async with gateway(engine=seldom) as running:
        async with running.connect() as player:
            first = await player.open()
            await player.act(0, 12)
            await player.until_frame(12)
        async with running.connect() as again:
            again.frames = player.frames
            second = await again.resume(first.resume_token, 12)
            assert second.next_action_index == 12
            running.engine.die()  # its memory had 12 frames, its store has 8
            running.engine.revive()
            await again.receive_a(protocol.Notice)
            error = await again.receive()
            assert (error.code, error.is_retryable) == (ErrorCode.NO_BACKEND, True)
        async with running.connect() as last:
            last.frames = again.frames
            third = await last.resume(second.resume_token, 12)
            assert third.next_action_index == 8
            running.engine.die()
            await last.receive_a(protocol.Notice)
            await last.act(8, 8)
            running.engine.revive()
            await last.until_frame(16)
            assert last.frames == expected


@pytest.mark.slow
async def test_a_token_whose_resume_failed_for_now_is_still_good(gateway, config) -> None:
    limits = config.limits.model_copy(update={"recover_seconds": 0.2})
    async with gateway(config.model_copy(update={"limits": limits})) as running:
        async with running.connect() as player:
            first = await player.open()
            await player.act(0, 4)
            await player.until_frame(4)
        running.engine.die()
        async with running.connect() as early:
            await early.send(protocol.Resume(resume_token=first.resume_token, last_frame_index=4))
            assert (await early.receive()).code is ErrorCode.NO_BACKEND
        running.engine.revive()
        await running.until(lambda: running.parts.pool.is_any_up)
        async with running.connect() as again:
            assert (await again.resume(first.resume_token, 4)).next_action_index == 4


async def test_a_session_that_nobody_waited_for_is_not_kept(gateway, engine_config) -> None:
    slow = engine_config.model_copy(update={"ready_seconds": 100.0})
    async with gateway(engine=slow) as running:
        async with running.connect() as player:
            await player.send(protocol.Open())
            await running.until(lambda: running.engine.num_sessions == 1)
        await running.until(lambda: len(running.parts.directory) == 0)
        assert running.engine.num_sessions == 0
        assert not running.engine._parked


async def test_credits_for_what_was_not_sent_are_refused_and_let_nothing_pile_up(
    gateway, engine_config
) -> None:
    # More in two segments than the sockets of both sides hold.
    big = engine_config.model_copy(update={"frame_bytes": 3_000_000})
    async with (
        gateway(engine=big) as running,
        running.connect(max_queue=1, close_timeout=0.1) as greedy,
    ):
        await greedy.open()
        await greedy.act(0, 200)
        [session] = running.parts.directory
        outbox = session._seat.outbox
        for segment_index in range(50):
            await greedy.send(protocol.FramesReceived(segment_index=segment_index))
        errors = running.parts.metrics.errors.labels(ErrorCode.BAD_MESSAGE)
        await running.until(lambda: errors._value.get() >= 30)
        await running.until(lambda: outbox.blocked_seconds() > 0.1)
        assert outbox._num_frames <= 3 * big.frames_per_segment
