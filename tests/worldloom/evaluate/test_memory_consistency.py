"""What counts as coming back, and how the frames there compare."""

from __future__ import annotations

import numpy as np
import pytest

from worldloom.camera import Kinematics, integrate_poses
from worldloom.evaluate.config import RevisitConfig
from worldloom.evaluate.memory_consistency import (
    Revisit,
    find_revisits,
    revisit_psnr_db,
    self_consistency_psnr_db,
)

CONFIG = RevisitConfig()


def poses_of(yaw_units):
    mouse = np.stack([np.zeros(len(yaw_units)), yaw_units], axis=1)
    return integrate_poses(np.eye(4), np.zeros((len(mouse), 6)), mouse, Kinematics())


def test_a_palindrome_comes_back_to_the_mirrored_frames():
    poses = poses_of(np.array([0.0] + [0.2] * 24 + [-0.2] * 24))
    revisits = find_revisits(poses, CONFIG)
    assert revisits
    for revisit in revisits:
        assert revisit.frame_index - revisit.earlier_index >= CONFIG.window_frames
        assert revisit.frame_index + revisit.earlier_index == pytest.approx(48, abs=2)
    assert revisits[-1] == Revisit(frame_index=48, earlier_index=0)


def test_a_full_turn_comes_back_and_half_a_turn_does_not():
    assert find_revisits(poses_of(np.array([0.0] + [0.2] * 60)), CONFIG) == []
    assert find_revisits(poses_of(np.array([0.0] + [0.2] * 121)), CONFIG)


def test_what_was_seen_within_the_window_is_no_revisit():
    assert find_revisits(poses_of(np.array([0.0] + [0.2] * 10 + [-0.2] * 10)), CONFIG) == []


def test_standing_still_is_no_revisit():
    assert find_revisits(poses_of(np.zeros(90)), CONFIG) == []


def test_figures_look_at_the_revisits_alone():
    recorded = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
    made = recorded.copy()
    made[5] = made[1]
    revisits = [Revisit(frame_index=5, earlier_index=1)]
    assert self_consistency_psnr_db(made, revisits) == 60.0
    assert revisit_psnr_db(made, recorded, revisits) < 12
    made[5] = recorded[5]
    made[0] = 0
    assert revisit_psnr_db(made, recorded, revisits) == 60.0


def test_without_revisits_there_is_no_figure():
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    assert revisit_psnr_db(frames, frames, []) is None
    assert self_consistency_psnr_db(frames, []) is None
