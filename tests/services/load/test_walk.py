from __future__ import annotations

import asyncio

import numpy as np
from fake_gateway import FakeGateway

from services.contract import ErrorCode
from services.load.walk import Walked, actions_of, recovery_seconds, walk


def walked(gateway: FakeGateway, seed: int = 3, num_frames: int = 24) -> Walked:
    async def use() -> Walked:
        async with gateway.serve():
            return await asyncio.wait_for(walk(gateway.url, seed, num_frames), 30)

    return asyncio.run(use())


def test_walks_of_one_seed_are_alike_however_often_they_break() -> None:
    whole, broken = walked(FakeGateway()), walked(FakeGateway(drop_at={5, 6, 20}))
    assert broken.num_reconnects == 3
    assert broken.is_as(whole)
    assert broken.versions == ["3"]
    assert len(broken.arrivals) == 25


def test_another_seed_is_another_walk() -> None:
    assert not walked(FakeGateway(), seed=4).is_as(walked(FakeGateway()))


def test_a_changed_lost_or_swapped_frame_shows() -> None:
    def changed(frame_index: int, action: list[float] | None) -> bytes:
        return b"another" if frame_index == 9 else f"frame {frame_index} after {action}".encode()

    whole = walked(FakeGateway())
    assert not walked(FakeGateway(picture=changed)).is_as(whole)
    lost = walked(FakeGateway())
    del lost.indices[4], lost.digests[4]
    assert not lost.is_gapless
    swapped = walked(FakeGateway())
    swapped.indices[4:6] = [5, 4]
    assert not swapped.is_as(whole)


def test_a_failure_is_a_result() -> None:
    failed = walked(FakeGateway(drop_at={6}, refuse_resume=[ErrorCode.REPLAYED_TOKEN]))
    assert failed.failure.startswith("replayed_token")
    assert failed.indices == list(range(6))


def test_actions_are_a_seeds() -> None:
    keyboard, mouse = actions_of(5, 20)
    again = actions_of(5, 20)
    assert np.array_equal(keyboard, again[0])
    assert np.array_equal(mouse, again[1])
    assert keyboard.shape == (20, 6)
    assert set(keyboard.sum(axis=1)) == {1.0}


def test_recovery_is_counted_from_the_mending_for_who_still_walks() -> None:
    over = Walked(0, arrivals=[1.0, 2.0])
    going = Walked(1, arrivals=[1.0, 2.0, 9.5, 9.6])
    assert recovery_seconds([over, going], 8.0) == [1.5]
