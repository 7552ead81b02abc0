"""A session over a real WebSocket: frames once and in order, whatever happens to connections."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from fake_gateway import CREDITS, FRAMES_PER_SEGMENT, FakeGateway, frame_data

from services import protocol
from services.client import SessionError, SessionOptions, SessionState, Timeouts, connect
from services.client.endpoint import Endpoint
from services.client.session import Session
from services.contract import ErrorCode

QUICK = Timeouts(reply_seconds=5, open_seconds=5, frame_seconds=5, reconnect_seconds=5)


def actions(num_actions: int) -> tuple[np.ndarray, np.ndarray]:
    keyboard, mouse = np.zeros((num_actions, 6)), np.zeros((num_actions, 2))
    keyboard[:, 0] = 1
    mouse[:, 1] = np.arange(num_actions) % 12
    return keyboard, mouse


def expected(num_frames: int) -> list[bytes]:
    rows = np.concatenate(actions(num_frames), axis=1).tolist()
    return [frame_data(0, None), *(frame_data(k + 1, row) for k, row in enumerate(rows))]


async def walk(gateway: FakeGateway, num_frames: int, **more) -> list[bytes]:
    async with connect(gateway.url, timeouts=QUICK, **more) as session:
        await session.act(*actions(num_frames))
        await session.finish()
        return [frame.data async for frame in session.frames()]


def run(gateway: FakeGateway, use) -> object:
    async def serve_and_use():
        async with gateway.serve():
            return await asyncio.wait_for(use(gateway), 30)

    return asyncio.run(serve_and_use())


def test_every_frame_comes_once_and_says_the_action_that_it_obeys() -> None:
    assert run(FakeGateway(), lambda gateway: walk(gateway, 50)) == expected(50)


def test_more_actions_than_a_server_takes_are_sent_as_it_has_room() -> None:
    gateway = FakeGateway()
    assert run(gateway, lambda gateway: walk(gateway, 3000)) == expected(3000)
    told = gateway.of_type(protocol.Actions)
    assert all(len(message.keyboard) <= 10 for message in told)
    assert sum(len(message.keyboard) for message in told) == 3000


@pytest.mark.parametrize("forgotten", [0, 5, 1000])
def test_a_broken_connection_is_not_seen_in_the_frames(forgotten: int) -> None:
    gateway = FakeGateway(drop_at={1, 7, 8, 30}, forget_actions=forgotten)

    async def use(gateway: FakeGateway) -> tuple[list[bytes], int]:
        async with connect(gateway.url, timeouts=QUICK) as session:
            await session.act(*actions(40))
            await session.finish()
            frames = [frame.data async for frame in session.frames()]
            return frames, session.num_reconnects

    assert run(gateway, use) == (expected(40), 4)
    tokens = [message.resume_token for message in gateway.of_type(protocol.Resume)]
    assert tokens == ["token-1", "token-2", "token-3", "token-4"]


def test_a_frame_that_is_sent_again_does_not_come_again() -> None:
    gateway = FakeGateway(drop_at={7, 15}, repeat_frames=3)
    assert run(gateway, lambda gateway: walk(gateway, 20)) == expected(20)


def test_resuming_goes_on_while_the_gateway_cannot_serve_yet() -> None:
    gateway = FakeGateway(
        drop_at={6}, refuse_resume=[ErrorCode.NO_BACKEND, ErrorCode.SHUTTING_DOWN]
    )
    assert run(gateway, lambda gateway: walk(gateway, 20)) == expected(20)
    assert len(gateway.of_type(protocol.Resume)) == 3


def test_resuming_ends_at_an_error_that_time_does_not_heal() -> None:
    gateway = FakeGateway(drop_at={6}, refuse_resume=[ErrorCode.REPLAYED_TOKEN])
    with pytest.raises(SessionError) as caught:
        run(gateway, lambda gateway: walk(gateway, 20))
    assert caught.value.code is ErrorCode.REPLAYED_TOKEN
    assert not caught.value.is_retryable


def test_a_gateway_that_does_not_come_back_is_given_up() -> None:
    gateway = FakeGateway()

    seen = []

    async def use(gateway: FakeGateway) -> None:
        timeouts = Timeouts(reconnect_seconds=0.3, reply_seconds=1)
        async with connect(gateway.url, timeouts=timeouts) as session:
            gateway.refuse_resume = [ErrorCode.NO_BACKEND] * 1000
            await session.act(*actions(FRAMES_PER_SEGMENT))
            async for frame in session.frames():
                seen.append(frame.frame_index)
                if frame.frame_index == FRAMES_PER_SEGMENT:
                    for socket in list(gateway.connections):
                        socket.transport.abort()

    with pytest.raises(SessionError) as caught:
        run(gateway, use)
    assert caught.value.code is ErrorCode.NO_BACKEND
    assert seen == [0, 1, 2, 3, 4]
    assert 2 <= len(gateway.of_type(protocol.Resume)) <= 8, "asked less and less often"


def test_a_lost_goodbye_is_no_lost_session() -> None:
    assert run(FakeGateway(lose_end=True), lambda gateway: walk(gateway, 10)) == expected(10)


def test_refused_actions_are_told_again_over_a_resumed_connection() -> None:
    gateway = FakeGateway(refuse={"actions": ErrorCode.RATE_LIMITED})
    assert run(gateway, lambda gateway: walk(gateway, 10)) == expected(10)
    assert len(gateway.of_type(protocol.Resume)) == 1


def test_a_caller_that_takes_no_frames_gets_no_more_made() -> None:
    async def use(gateway: FakeGateway) -> int:
        async with connect(gateway.url, timeouts=QUICK) as session:
            receipt = await session.act(*actions(100))
            await receipt.received()
            await session.frame_arrived(CREDITS * FRAMES_PER_SEGMENT)
            await session.ping()
            [opened] = gateway.sessions.values()
            made = opened.num_frames
            frames = session.frames()
            for _ in range(1 + FRAMES_PER_SEGMENT):
                await anext(frames)
            await session.frame_arrived(made + FRAMES_PER_SEGMENT)
            await session.ping()
            assert opened.num_frames == made + FRAMES_PER_SEGMENT
            return made

    assert run(FakeGateway(), use) == CREDITS * FRAMES_PER_SEGMENT


def test_a_slow_caller_that_drops_sees_the_newest_and_holds_no_more() -> None:
    gateway = FakeGateway(ignores_credits=True)

    async def use(gateway: FakeGateway) -> tuple[list[int], int]:
        options = SessionOptions(late_frames="drop")
        async with connect(gateway.url, timeouts=QUICK, options=options) as session:
            await session.act(*actions(400))
            await session.finish()
            await session.frame_arrived(400)
            frames = [frame.frame_index async for frame in session.frames()]
            return frames, session.num_dropped

    frames, num_dropped = run(gateway, use)
    most = (CREDITS + 1) * FRAMES_PER_SEGMENT
    assert frames == list(range(401 - len(frames), 401))
    assert FRAMES_PER_SEGMENT <= len(frames) <= most
    assert num_dropped == 401 - len(frames)


def test_receipts_tell_when_actions_are_queued_and_when_frames_obey() -> None:
    async def use(gateway: FakeGateway) -> tuple[int, int]:
        async with connect(gateway.url, timeouts=QUICK) as session:
            await session.act(*actions(4))
            receipt = await session.act(np.zeros(6), np.zeros(2))
            await receipt.received()
            assert sum(len(m.keyboard) for m in gateway.of_type(protocol.Actions)) == 5
            waiting = asyncio.create_task(receipt.applied())
            await session.act(*actions(3))
            return receipt.first_action_index, await waiting

    assert run(FakeGateway(), use) == (4, 5)


def test_a_pause_outlives_a_broken_connection_and_ends_when_asked() -> None:
    async def use(gateway: FakeGateway) -> list[bytes]:
        async with connect(gateway.url, timeouts=QUICK) as session:
            await session.pause()
            assert session.state is SessionState.PAUSED
            await session.act(*actions(8))
            for socket in list(gateway.connections):
                socket.transport.abort()
            while session.num_reconnects == 0:
                await session.ping()
            assert session.state is SessionState.PAUSED
            assert not gateway.of_type(protocol.Actions)
            await session.unpause()
            await session.finish()
            return [frame.data async for frame in session.frames()]

    assert run(FakeGateway(), use) == expected(8)


def test_a_refused_pause_is_told_to_who_asked_and_the_session_goes_on() -> None:
    async def use(gateway: FakeGateway) -> list[bytes]:
        async with connect(gateway.url, timeouts=QUICK) as session:
            with pytest.raises(SessionError) as caught:
                await session.pause()
            assert caught.value.code is ErrorCode.WRONG_STATE
            await session.act(*actions(4))
            await session.finish()
            return [frame.data async for frame in session.frames()]

    gateway = FakeGateway(refuse={"pause": ErrorCode.WRONG_STATE})
    assert run(gateway, use) == expected(4)


def test_a_snapshot_says_the_last_frame_in_it() -> None:
    async def use(gateway: FakeGateway) -> int:
        async with connect(gateway.url, timeouts=QUICK) as session:
            await session.act(*actions(4))
            await session.frame_arrived(4)
            return await session.snapshot()

    assert run(FakeGateway(), use) == 4


def test_the_place_in_the_queue_is_told_as_it_changes() -> None:
    positions = []
    gateway = FakeGateway(queue_positions=(3, 2, 1))
    on_news = lambda news: positions.append(news.position)  # noqa: E731
    assert run(gateway, lambda gateway: walk(gateway, 4, on_news=on_news)) == expected(4)
    assert positions == [3, 2, 1]


def test_options_reach_the_gateway() -> None:
    gateway = FakeGateway()
    options = SessionOptions(
        world="grey", image=b"JPEG", seed=9, late_frames="drop", release="3", traceparent="00-a-b-1"
    )
    run(gateway, lambda gateway: walk(gateway, 1, options=options, token="t"))
    [opened] = gateway.of_type(protocol.Open)
    assert (opened.world, opened.image, opened.token) == ("grey", "SlBFRw==", "t")
    assert (opened.seed, opened.late_frames, opened.release) == (9, "drop", "3")
    assert opened.traceparent == "00-a-b-1"


def test_leaving_the_block_ends_the_session_at_the_gateway() -> None:
    gateway = FakeGateway()

    async def use(gateway: FakeGateway) -> None:
        async with connect(gateway.url, timeouts=QUICK) as session:
            await session.act(*actions(100))
        assert session.end_reason == "stopped"

    run(gateway, use)
    assert not gateway.sessions
    assert gateway.of_type(protocol.Close) == [protocol.Close()]


def test_leaving_without_reading_does_not_take_long() -> None:
    async def use(gateway: FakeGateway) -> float:
        async with connect(gateway.url, timeouts=QUICK) as session:
            await session.act(*actions(100))
            await session.frame_arrived(CREDITS * FRAMES_PER_SEGMENT)
            started = time.monotonic()
        return time.monotonic() - started

    assert run(FakeGateway(), use) < 1.5


@pytest.mark.parametrize("num_steps", [1, 2, 3, 5])
def test_who_leaves_while_the_session_opens_lets_nobody_wait(num_steps: int) -> None:
    async def use(gateway: FakeGateway) -> None:
        session = Session(Endpoint.parse(gateway.url).session_url, timeouts=QUICK)
        opening = asyncio.create_task(session.open(None))
        for _ in range(num_steps):
            await asyncio.sleep(0)
        await session.abandon()
        with pytest.raises(SessionError, match="given up") as caught:
            await asyncio.wait_for(opening, 2)
        assert caught.value.code is ErrorCode.DISCONNECTED

    run(FakeGateway(), use)


def test_a_refused_session_raises_the_gateways_code() -> None:
    with pytest.raises(SessionError, match="refused as the test wants it") as caught:
        run(FakeGateway(refuse_open=ErrorCode.QUEUE_FULL), lambda gateway: walk(gateway, 1))
    assert caught.value.code is ErrorCode.QUEUE_FULL
    assert caught.value.is_retryable


def test_nobody_at_the_address_is_one_sentence() -> None:
    async def use() -> None:
        async with connect("ws://127.0.0.1:9", timeouts=QUICK):
            pass

    with pytest.raises(SessionError, match=r"gateway at ws://127.0.0.1:9/v1/session does not"):
        asyncio.run(use())


def test_a_server_that_owes_frames_and_is_silent_is_a_timeout() -> None:
    async def use(gateway: FakeGateway) -> None:
        timeouts = Timeouts(frame_seconds=0.2, reply_seconds=1)
        async with connect(gateway.url, timeouts=timeouts) as session:
            [opened] = gateway.sessions.values()
            opened.is_paused = True
            await session.act(*actions(FRAMES_PER_SEGMENT))
            async for _ in session.frames():
                pass

    with pytest.raises(SessionError, match=r"no frame after 0 within 0\.2 s") as caught:
        run(FakeGateway(), use)
    assert caught.value.code is ErrorCode.TIMEOUT


@pytest.mark.parametrize(
    ("keyboard", "mouse", "told"),
    [
        (np.zeros((3, 5)), np.zeros((3, 2)), r"keyboard has shape \[3, 5\]"),
        (np.zeros((3, 6)), np.zeros((2, 2)), r"mouse has shape \[2, 2\], expected \[3, 2\]"),
        (np.zeros((3, 6)), np.full((3, 2), np.nan), r"action 0 is .*nan"),
        (np.zeros((3, 6)), np.diag([0, 0, 13.0])[:, 1:], r"action 2 is .*mouse from -12 to 12"),
        (np.full((3, 6), 2), np.zeros((3, 2)), r"action 0 is .*expected keys from 0 to 1"),
    ],
)
def test_wrong_actions_are_refused_before_they_are_sent(keyboard, mouse, told: str) -> None:
    async def use(gateway: FakeGateway) -> None:
        async with connect(gateway.url, timeouts=QUICK) as session:
            await session.act(keyboard, mouse)

    gateway = FakeGateway()
    with pytest.raises(SessionError, match=told) as caught:
        run(gateway, use)
    assert caught.value.code is ErrorCode.BAD_TENSOR
    assert not gateway.of_type(protocol.Actions)


def test_a_hundred_sessions_leave_no_task_behind() -> None:
    async def use(gateway: FakeGateway) -> int:
        for _ in range(5):
            await asyncio.gather(*(walk(gateway, 3) for _ in range(20)))
        await asyncio.sleep(0)
        return len([t for t in asyncio.all_tasks() if t.get_name() == "worldloom-session"])

    assert run(FakeGateway(), use) == 0
