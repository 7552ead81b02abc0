"""A clip that breaks its contract is refused in one sentence that names what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from worldloom.data.schema import Clip, validate_clip
from worldloom.errors import DataError


def _with_nan_pose(clip: Clip) -> Clip:
    poses = clip.poses_c2w.copy()
    poses[7, 0, 3] = np.nan
    return replace(clip, poses_c2w=poses)


def _with_sheared_pose(clip: Clip) -> Clip:
    poses = clip.poses_c2w.copy()
    poses[5, 0, 1] += 0.2
    return replace(clip, poses_c2w=poses)


def _with_first_action(clip: Clip) -> Clip:
    keyboard = clip.keyboard.copy()
    keyboard[0, 0] = 1
    return replace(clip, keyboard=keyboard)


def _without_frames(clip: Clip) -> Clip:
    return replace(clip, frames=clip.frames[:0])


def _with_even_length(clip: Clip) -> Clip:
    return replace(clip, frames=clip.frames[:48])


def _with_grey_frames(clip: Clip) -> Clip:
    return replace(clip, frames=clip.frames[..., :1])


def _with_short_mouse(clip: Clip) -> Clip:
    return replace(clip, mouse=clip.mouse[:-1])


def test_a_captured_clip_keeps_its_contract(clip: Clip) -> None:
    validate_clip(clip)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_with_nan_pose, "poses_c2w is not finite at frame 7"),
        (_with_sheared_pose, "poses_c2w at frame 5 is no rotation"),
        (_with_first_action, "the first frame has an action"),
        (_without_frames, "it has no frames"),
        (_with_even_length, r"48 frames, expected 4n\+1"),
        (_with_grey_frames, r"expected uint8 \[F, H, W, 3\]"),
        (_with_short_mouse, r"mouse has shape \[48, 2\], expected \[49, 2\]"),
        (lambda clip: replace(clip, split="validation"), "split 'validation'"),
    ],
)
def test_a_broken_clip_is_named_with_its_fault(
    clip: Clip, spoil: Callable[[Clip], Clip], words: str
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        validate_clip(spoil(clip))
    assert clip.clip_id in str(caught.value)
    assert "\n" not in str(caught.value)
