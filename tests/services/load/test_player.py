"""A player on a small gateway: it acts ahead, takes frames at its pace, and notes what it sees."""

from __future__ import annotations

import asyncio
import struct
import time

import pytest
from fake_gateway import FRAMES_PER_SEGMENT, FakeGateway, frame_data

from services import protocol
from services.contract import ErrorCode
from services.load.player import Played, PlayerConfig, play


def run(gateway: FakeGateway, config: PlayerConfig) -> Played:
    async def use() -> Played:
        async with gateway.serve():
            return await asyncio.wait_for(play(gateway.url, config, seed=4), 30)

    return asyncio.run(use())


def stamped(frame_index: int, action: list[float] | None) -> bytes:
    return frame_data(frame_index, action) + struct.pack("<d", time.monotonic())


@pytest.mark.slow
def test_a_player_sees_the_frames_of_the_time_it_plays() -> None:
    gateway = FakeGateway(picture=stamped)
    played = run(gateway, PlayerConfig(seconds=1.0, is_stamped=True))
    assert played.failure == ""
    assert 16 <= played.num_frames <= 16 + FRAMES_PER_SEGMENT
    assert len(played.interval_seconds) == played.num_frames - 1
    assert 0 < played.opened_seconds <= played.first_frame_seconds
    assert len(played.action_to_frame_seconds) >= 16 // FRAMES_PER_SEGMENT
    assert len(played.added_seconds) == played.num_frames
    assert min(played.added_seconds) > 0
    assert played.num_reconnects == 0


@pytest.mark.slow
def test_a_player_is_one_segment_ahead_and_no_more() -> None:
    gateway = FakeGateway()
    played = run(gateway, PlayerConfig(seconds=1.0))
    num_actions = sum(len(message.keyboard) for message in gateway.of_type(protocol.Actions))
    segments_seen = -(-played.num_frames // FRAMES_PER_SEGMENT)
    assert num_actions <= (segments_seen + 1) * FRAMES_PER_SEGMENT


@pytest.mark.slow
def test_a_slow_player_takes_fewer_frames_in_the_same_time() -> None:
    played = run(FakeGateway(), PlayerConfig(seconds=1.0, pace=0.25))
    assert 4 <= played.num_frames <= 6


@pytest.mark.slow
def test_a_break_in_the_middle_is_noted_and_play_goes_on() -> None:
    played = run(FakeGateway(drop_at={7}), PlayerConfig(seconds=1.0))
    assert (played.failure, played.num_reconnects) == ("", 1)
    assert played.num_frames >= 16


def test_a_refusal_is_a_result() -> None:
    played = run(FakeGateway(refuse_open=ErrorCode.QUEUE_FULL), PlayerConfig())
    assert played.failure.startswith("queue_full: ")
    assert played.num_frames == 0
    assert played.continuity == 0.0


@pytest.mark.slow
def test_the_same_seed_walks_the_same_way() -> None:
    def walked() -> list:
        gateway = FakeGateway()
        run(gateway, PlayerConfig(seconds=0.5))
        told = gateway.of_type(protocol.Actions)
        return [(message.keyboard, message.mouse) for message in told][:3]

    assert walked() == walked()
