"""The bank gives back what was committed, in the order that is asked for."""

from __future__ import annotations

import torch

from worldloom.memory.bank import MemoryBank
from worldloom.model.attention import BlockContext

TOKENS, BLOCKS = 4, 2


def keys_values(value: float) -> list[BlockContext]:
    return [
        BlockContext(
            keys=torch.full((1, TOKENS, 1, 8), value + block),
            values=torch.full((1, TOKENS, 1, 8), -value - block),
        )
        for block in range(BLOCKS)
    ]


def filled(count: int) -> MemoryBank:
    bank = MemoryBank()
    for index in range(count):
        bank.append(torch.zeros(1, 2, 2), torch.eye(4) * index, keys_values(10.0 * index))
    return bank


def test_two_banks_share_nothing() -> None:
    filled(3)
    assert len(MemoryBank()) == 0


def test_poses_stay_in_the_order_of_time() -> None:
    bank = filled(3)
    assert len(bank) == 3
    assert bank.pose_array()[:, 0, 0].tolist() == [0, 1, 2]


def test_chosen_latents_come_block_by_block_in_the_order_asked_for() -> None:
    found = filled(4).gather([3, 1])
    assert len(found) == BLOCKS
    for block, context in enumerate(found):
        expected = [30.0 + block] * TOKENS + [10.0 + block] * TOKENS
        assert context.keys[0, :, 0, 0].tolist() == expected
        assert (-context.values)[0, :, 0, 0].tolist() == expected
