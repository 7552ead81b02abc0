"""Bytes are followed from the operation that makes them to the last tensor on them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from worldloom.model.cost.live_bytes import live_bytes


def on_meta(*shape: int) -> Tensor:
    return torch.empty(*shape, device="meta")


def test_what_is_dropped_is_not_counted_at_the_peak() -> None:
    x = on_meta(10)
    with live_bytes([x]) as follower:
        first = x + 1
        del first
        second = x + 2
        third = second + 1
        assert follower.now == 2 * 40
        del second, third
    assert (follower.now, follower.peak) == (0, 2 * 40)


def test_views_and_what_was_there_before_are_free() -> None:
    x = on_meta(4, 6)
    with live_bytes([x]) as follower:
        kept = x.flatten()[2:].unsqueeze(0)
        assert follower.now == 0
        made = (x * 2).transpose(0, 1)
        assert follower.now == 4 * 6 * 4
        del kept, made
    assert follower.peak == 4 * 6 * 4


def test_attention_holds_its_output_and_no_scores() -> None:
    query, key = on_meta(1, 2, 1000, 8), on_meta(1, 2, 5000, 8)
    with live_bytes([query, key]) as follower:
        out = F.scaled_dot_product_attention(query, key, key)
    assert out.shape == query.shape
    assert follower.peak == query.numel() * 4
