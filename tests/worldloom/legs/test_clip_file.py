"""Clips as files: what comes back, and what happens to a damaged one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CONFIG, FRAME_SIZE, INTRINSICS, tiny_clips

from worldloom.data.schema import Clip
from worldloom.errors import DataError
from worldloom.legs.clip_file import (
    ClipFolder,
    clip_path,
    held_out_clips,
    is_done,
    mark_dropped,
    read_clip,
    write_clip,
)
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.train.clip_context import SegmentedClips

GIVEN = tiny_clips(num_clips=1)


def clip(name: str = "clip-0") -> Clip:
    frames = np.random.default_rng(0).integers(
        0, 256, (GIVEN.poses.shape[1], *FRAME_SIZE, 3), np.uint8
    )
    return Clip(
        clip_id=name,
        source="procedural",
        world="1",
        split="train",
        trajectory="free",
        prompt=GIVEN.prompts[0],
        frames=frames,
        poses_c2w=GIVEN.poses[0].numpy(),
        intrinsics=INTRINSICS,
        keyboard=GIVEN.keyboard[0].numpy(),
        mouse=GIVEN.mouse[0].numpy(),
    )


def write(folder: Path, count: int) -> None:
    for index in range(count):
        path = clip_path(folder, "train", index)
        write_clip(path, clip(f"clip-{index}"), CONFIG, RetrievalConfig())


def test_a_clip_comes_back_with_the_context_that_training_would_work_out(tmp_path: Path) -> None:
    write(tmp_path, 1)
    found = read_clip(clip_path(tmp_path, "train", 0))
    assert np.array_equal(found.frames.numpy(), clip().frames)
    expected = SegmentedClips(GIVEN, CONFIG, RetrievalConfig()).batch(torch.tensor([0]))
    for name, value in vars(expected).items():
        if name != "latents":
            assert torch.equal(vars(found.segmented)[name], value), name


def test_clips_come_in_once_each_and_in_order(tmp_path: Path) -> None:
    folder = ClipFolder(tmp_path, "train")
    write(tmp_path, 3)
    assert [c.clip_id for c in folder.poll(2)] == ["clip-0", "clip-1"]
    assert [c.clip_id for c in folder.poll(2)] == ["clip-2"]
    assert folder.poll(2) == []
    assert ClipFolder(tmp_path, "test").poll(2) == []


def test_a_damaged_clip_is_skipped_and_counted_and_too_many_stop(tmp_path: Path) -> None:
    folder = ClipFolder(tmp_path, "train")
    write(tmp_path, 2)
    clip_path(tmp_path, "train", 0).write_bytes(b"half a file")
    assert [c.clip_id for c in folder.poll(9)] == ["clip-1"]
    assert folder.damaged == ["train-0000000.safetensors"]
    clip_path(tmp_path, "train", 7).write_bytes(b"")
    with pytest.raises(DataError, match=r"2 of 3 clip files cannot be read .* at most 1%"):
        folder.poll(9)


def test_dropped_clips_are_done_and_not_waited_for(tmp_path: Path) -> None:
    folder = ClipFolder(tmp_path, "train")
    write(tmp_path, 1)
    mark_dropped(clip_path(tmp_path, "train", 1))
    assert [is_done(clip_path(tmp_path, "train", index)) for index in range(3)] == [
        True, True, False,
    ]  # fmt: skip
    assert folder.num_done == 1
    folder.poll(9)
    assert folder.num_done == 2


def test_held_out_clips_are_a_set_that_is_judged_on(tmp_path: Path) -> None:
    write(tmp_path, 2)
    stored = ClipFolder(tmp_path, "train").poll(2)
    latents = [GIVEN.latents[0].float()] * 2
    found = held_out_clips(stored, latents, INTRINSICS)
    assert found.clip_ids == ["clip-0", "clip-1"]
    assert torch.equal(found.poses[0], GIVEN.poses[0])
