"""Filters on synthetic corruptions: each is caught for its reason, and clean clips are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from worldloom.data.filters import FilterConfig, clip_quality, drop_reasons
from worldloom.data.schema import Clip
from worldloom.data.sources.procedural import ProceduralConfig, capture_clip

NUM_FRAMES = 49


@pytest.fixture(scope="module")
def clean() -> list[Clip]:
    config = ProceduralConfig(supersample=1)
    clips = [
        capture_clip(
            config, seed=seed, split="train", num_frames=NUM_FRAMES, trajectory="palindrome"
        )
        for seed in range(16)
    ]
    walked = [clip for clip in clips if clip.keyboard.any(axis=1).mean() > 0.3]
    assert len(walked) >= 6
    return walked


def _reasons(clip: Clip) -> tuple[str, ...]:
    config = FilterConfig()
    return drop_reasons(clip_quality(clip, config), config)


def _moved(clip: Clip, offset: np.ndarray) -> Clip:
    poses = clip.poses_c2w.copy()
    poses[:, :3, 3] += offset.astype(np.float32)
    return replace(clip, poses_c2w=poses)


def _too_fast(clip: Clip) -> Clip:
    ramp = np.zeros((NUM_FRAMES, 3))
    ramp[20:30, 0] = np.arange(10) * 0.6
    ramp[30:, 0] = ramp[29, 0]
    return _moved(clip, ramp)


def _teleported(clip: Clip) -> Clip:
    jump = np.zeros((NUM_FRAMES, 3))
    jump[25:, 2] = 3.0
    return _moved(clip, jump)


def _frozen(clip: Clip) -> Clip:
    return replace(
        clip,
        poses_c2w=np.repeat(clip.poses_c2w[:1], NUM_FRAMES, axis=0),
        keyboard=np.zeros_like(clip.keyboard),
        mouse=np.zeros_like(clip.mouse),
    )


def _darkened(clip: Clip) -> Clip:
    return replace(clip, frames=(clip.frames // 32).astype(np.uint8))


def _blurred(clip: Clip) -> Clip:
    return replace(clip, frames=np.stack([cv2.GaussianBlur(f, (0, 0), 6) for f in clip.frames]))


def _with_turned_labels(clip: Clip) -> Clip:
    mouse = clip.mouse.copy()
    mouse[1:] = np.roll(mouse[1:], 9, axis=0)
    return replace(clip, mouse=mouse)


def _with_swapped_keys(clip: Clip) -> Clip:
    return replace(clip, keyboard=clip.keyboard[:, [1, 0, 3, 2, 4, 5]])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_too_fast, "speed"),
        (_teleported, "pose_jump"),
        (_frozen, "static"),
        (_darkened, "exposure"),
        (_blurred, "blur"),
        (_with_turned_labels, "action_mismatch"),
        (_with_swapped_keys, "action_mismatch"),
    ],
)
def test_a_corruption_is_dropped_for_its_reason(
    clean: list[Clip], spoil: Callable[[Clip], Clip], reason: str
) -> None:
    recall = np.mean([reason in _reasons(spoil(clip)) for clip in clean])
    assert recall >= 0.85


def test_clean_clips_are_kept(clean: list[Clip]) -> None:
    assert [_reasons(clip) for clip in clean] == [()] * len(clean)


def test_being_stopped_by_a_wall_is_no_mismatch_until_it_is_most_of_the_clip(
    clean: list[Clip],
) -> None:
    clip = _frozen(clean[0])
    keyboard = np.zeros_like(clip.keyboard)
    keyboard[1:15, 0] = 1
    config = FilterConfig(max_static_frames=100)
    bumping = clip_quality(replace(clip, keyboard=keyboard), config)
    assert drop_reasons(bumping, config) == ()
    keyboard[1:] = [1, 0, 0, 0, 0, 0]
    pushing = clip_quality(replace(clip, keyboard=keyboard), config)
    assert drop_reasons(pushing, config) == ("action_mismatch",)
