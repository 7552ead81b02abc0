"""What waits for a player's socket."""

from __future__ import annotations

import asyncio

import pytest

from services import protocol
from services.gateway.outbox import LateRule, Outbox, OutgoingFrame
from services.protocol import KIND_H264_DELTA, KIND_H264_KEY, KIND_JPEG

pytestmark = pytest.mark.anyio


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Socket:
    """Takes everything, or nothing while it is blocked."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.frames: list[int] = []
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def send_text(self, text: str) -> None:
        await self.is_open.wait()
        self.texts.append(text)

    async def send_bytes(self, data: bytes) -> None:
        await self.is_open.wait()
        self.frames.append(protocol.FrameHeader.unpack(data).frame_index)


def push(outbox: Outbox, kinds: list[int], first: int = 0) -> None:
    for offset, kind in enumerate(kinds):
        outbox.push_frame(OutgoingFrame(kind, 0, first + offset, first + offset - 1, b"data"))


async def write_all(outbox: Outbox) -> Socket:
    socket = Socket()
    outbox.finish()
    await outbox.write_to(socket)
    return socket


async def test_messages_and_frames_keep_their_order_and_are_counted() -> None:
    outbox = Outbox()
    outbox.push(protocol.Paused())
    push(outbox, [KIND_JPEG] * 3)
    socket = await write_all(outbox)
    assert socket.frames == [0, 1, 2]
    assert (outbox.num_sent, outbox.num_bytes, outbox.num_dropped) == (3, 12, 0)


async def test_with_keep_nothing_is_late() -> None:
    clock = Clock()
    outbox = Outbox(clock)
    outbox.obey(LateRule("keep", seconds=1.0, max_frames=2))
    push(outbox, [KIND_JPEG] * 5)
    outbox.make_room(5)
    clock.now = 100.0
    assert (await write_all(outbox)).frames == [0, 1, 2, 3, 4]


async def test_late_jpegs_are_left_out_one_by_one() -> None:
    clock = Clock()
    outbox = Outbox(clock)
    outbox.obey(LateRule("drop", seconds=1.0))
    push(outbox, [KIND_JPEG] * 2)
    clock.now = 2.0
    push(outbox, [KIND_JPEG] * 2, first=2)
    assert (await write_all(outbox)).frames == [2, 3]
    assert outbox.num_dropped == 2


async def test_late_h264_is_left_out_up_to_the_next_key_frame() -> None:
    clock = Clock()
    outbox = Outbox(clock)
    outbox.obey(LateRule("drop", seconds=1.0))
    push(outbox, [KIND_H264_KEY, KIND_H264_DELTA])
    clock.now = 2.0
    push(outbox, [KIND_H264_DELTA, KIND_H264_DELTA, KIND_H264_KEY, KIND_H264_DELTA], first=2)
    assert (await write_all(outbox)).frames == [4, 5]
    assert outbox.num_dropped == 4


async def test_frames_that_have_no_room_make_it_for_newer_ones() -> None:
    outbox = Outbox()
    outbox.obey(LateRule("drop", seconds=100.0, max_frames=4))
    outbox.push(protocol.Paused())
    push(outbox, [KIND_JPEG] * 4)
    outbox.make_room(3)
    push(outbox, [KIND_JPEG] * 3, first=4)
    socket = await write_all(outbox)
    assert socket.frames == [4, 5, 6]
    assert len(socket.texts) == 1
    assert outbox.num_dropped == 4


async def test_it_says_for_how_long_the_socket_has_taken_nothing() -> None:
    clock, socket = Clock(), Socket()
    outbox = Outbox(clock)
    socket.is_open.clear()
    writing = asyncio.create_task(outbox.write_to(socket))
    push(outbox, [KIND_JPEG])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    clock.now = 5.0
    assert outbox.blocked_seconds() == 5.0
    socket.is_open.set()
    outbox.finish()
    await writing
    assert outbox.blocked_seconds() == 0.0


async def test_a_player_that_never_reads_is_not_listened_to_without_end() -> None:
    outbox, socket = Outbox(), Socket()
    for _ in range(300):
        outbox.push(protocol.Paused())
    waiting = asyncio.create_task(outbox.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    outbox.finish()
    await outbox.write_to(socket)
    await waiting
