"""A pool gives what a fixed set gives, and grows under its reader."""

from __future__ import annotations

import pytest
import torch
from tiny import CONFIG, INTRINSICS, tiny_clips

from worldloom.legs.pool import ClipPool
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.train.clip_context import SegmentedClips

CLIPS = SegmentedClips(tiny_clips(), CONFIG, RetrievalConfig())


def pool(count: int) -> ClipPool:
    made = ClipPool(3, INTRINSICS, torch.device("cpu"))
    for row in range(count):
        clip = CLIPS.batch(torch.tensor([row]))
        made.add(f"clip-{row}", clip, clip.latents[0])
    return made


def test_a_pool_gives_what_a_fixed_set_gives() -> None:
    rows, made = torch.tensor([2, 0]), pool(3)
    assert made.num_segments == CLIPS.num_segments
    for name, value in vars(CLIPS.batch(rows)).items():
        assert torch.equal(vars(made.batch(rows))[name], value), name


def test_clips_are_there_once_they_were_added() -> None:
    made = pool(1)
    assert len(made) == 1
    clip = CLIPS.batch(torch.tensor([1]))
    made.add("clip-1", clip, clip.latents[0])
    assert made.clip_ids == ["clip-0", "clip-1"]
    assert torch.equal(made.batch(torch.tensor([1])).poses, clip.poses)


def test_a_full_pool_says_so() -> None:
    clip = CLIPS.batch(torch.tensor([1]))
    with pytest.raises(ValueError, match="clip 'one more': the pool is full, expected at most 3"):
        pool(3).add("one more", clip, clip.latents[0])
