"""Windows: drawn by the generator alone, fixed ones the same at every call."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worldloom.errors import DataError
from worldloom.train.vae_windows import draw_windows, fixed_windows, long_enough, to_video


def clips() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (21, 8, 8, 3), dtype=np.uint8) for _ in range(3)]


def test_bytes_become_values_between_minus_one_and_one() -> None:
    frames = np.zeros((2, 1, 1, 3), np.uint8)
    frames[1] = 255
    video = to_video(frames)
    assert video.shape == (1, 3, 2, 1, 1)
    assert video[0, 0, :, 0, 0].tolist() == [-1.0, 1.0]


def test_draws_follow_the_generator() -> None:
    first, again, other = (
        draw_windows(clips(), 5, 4, torch.Generator().manual_seed(seed)).frames
        for seed in (7, 7, 8)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_drawn_window_is_a_stretch_of_a_clip_or_its_mirror() -> None:
    windows = to_video(draw_windows(clips(), 5, 8, torch.Generator().manual_seed(0)).frames)
    stretches = [to_video(clip[i : i + 5])[0] for clip in clips() for i in range(17)]
    either = stretches + [stretch.flip(-1) for stretch in stretches]
    assert all(any(torch.equal(window, known) for known in either) for window in windows)


def test_fixed_windows_take_every_clip() -> None:
    windows = fixed_windows(clips(), 5, 3)
    firsts = [clip[start : start + 5] for clip, start in zip(clips(), (0, 5, 10), strict=True)]
    assert torch.equal(windows, torch.cat([to_video(frames) for frames in firsts]))


def test_no_clip_of_the_length_is_an_error() -> None:
    with pytest.raises(DataError, match="none with 25 frames"):
        long_enough(clips(), 25)
