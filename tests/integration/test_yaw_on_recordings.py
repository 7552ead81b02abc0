"""The yaw estimator on recordings of the real engine: the ceiling of every claim on control."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from worldloom.data.schema import Clip
from worldloom.data.sources.vizdoom import VizdoomConfig, capture_clip
from worldloom.evaluate.config import TurningConfig
from worldloom.evaluate.controllability import (
    YawEstimator,
    find_turning_pairs,
    yaw_sign_fraction,
)

CONFIG = VizdoomConfig()
TURNING = TurningConfig()


@pytest.fixture(scope="module")
def recordings() -> list[Clip]:
    return [
        capture_clip(CONFIG, map_name=name, seed=seed, split="test", num_frames=49)
        for name in CONFIG.test_maps[:3]
        for seed in (1, 2)
    ]


@pytest.mark.parametrize(("sigma", "least"), [(0.0, 0.95), (1.0, 0.9), (2.0, 0.9)])
def test_signs_are_right_in_freedoom(recordings: list[Clip], sigma: float, least: float) -> None:
    estimator = YawEstimator(
        TURNING.estimator, intrinsics=CONFIG.intrinsics, height=CONFIG.height, width=CONFIG.width
    )
    right = total = 0.0
    for clip in recordings:
        frames = clip.frames
        if sigma:
            frames = np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames])
        found = yaw_sign_fraction(frames, find_turning_pairs(clip.poses_c2w, TURNING), estimator)
        if found is not None:
            right, total = right + found.numerator, total + found.denominator
    assert total >= 40
    assert right / total >= least
