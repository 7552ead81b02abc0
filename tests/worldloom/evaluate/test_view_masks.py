"""What geometry says of each pixel, in walks whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from worldloom.camera import Intrinsics, Kinematics, integrate_poses
from worldloom.evaluate.view_masks import ViewMaskConfig, static_frames, view_masks

SIZE = 32
INTRINSICS = Intrinsics.from_fov(SIZE, SIZE)
CONFIG = ViewMaskConfig(window_frames=8)


def turn(units):
    """Poses that turn on the spot, the first looking ahead, inside a sphere of 5 m or so."""
    mouse = np.stack([np.zeros(len(units)), units], axis=1)
    poses = integrate_poses(np.eye(4), np.zeros((len(units), 6)), mouse, Kinematics())
    return np.concatenate([np.eye(4)[None], poses])


def sphere_depths(count):
    """Depth along the axis of a sphere of radius 5 m around the camera."""
    at = (np.arange(SIZE) + 0.5 - INTRINSICS.cx) / INTRINSICS.fx
    return np.broadcast_to(5 / np.sqrt(1 + at[None] ** 2 + at[:, None] ** 2), (count, SIZE, SIZE))


def masks_of(units):
    poses = turn(np.asarray(units, float))
    return view_masks(sphere_depths(len(poses)), poses, INTRINSICS, CONFIG)


def test_every_pixel_is_one_of_the_three():
    masks = masks_of([0.5] * 20 + [-0.5] * 20)
    total = masks.novel.astype(int) + masks.revisited + masks.recent
    assert (total == 1).all()


def test_turning_right_reveals_a_strip_at_the_right():
    masks = masks_of([1.0])  # 15 degrees of a view of 90
    share = masks.novel[1].mean(axis=0)
    assert share[-1] == 1
    assert share[: SIZE // 2].max() == 0
    strip = (np.tan(np.radians(45)) - np.tan(np.radians(30))) / 2
    assert masks.novel[1].mean() == pytest.approx(strip, abs=4 / SIZE)


def test_what_was_new_stays_fresh_for_a_window_and_what_the_start_showed_never_is():
    masks = masks_of([1.0] + [0.0] * 12)  # 15 degrees of a view of 90, then a stand
    strip = masks.novel[1]
    assert not masks.novel[2:].any()
    assert not masks.fresh[0].any()
    for frame in range(1, 9):  # 8 frames after frame 1, that frame is as old as the window
        assert (masks.fresh[frame] == strip).all()
    assert not masks.fresh[9:].any()


def test_a_whole_turn_away_and_back_is_revisited():
    masks = masks_of([1.0] * 12 + [-1.0] * 12)  # 180 degrees and back
    # The seven frames before the last one looked 15 to 105 degrees to the right of it.
    strip = (np.tan(np.radians(45)) - np.tan(np.radians(30))) / 2
    assert masks.revisited[-1].mean() == pytest.approx(strip, abs=4 / SIZE)
    assert masks.revisited[-1, :, 0].all()
    assert not masks.novel[13:].any()


def test_coming_back_at_once_is_recent():
    masks = masks_of([1.0] * 3 + [-1.0] * 3)
    assert masks.recent[-1].all()


def test_standing_still_is_recent_for_ever():
    masks = masks_of([0.0] * 30)
    assert masks.recent.all()


def test_what_stood_behind_a_wall_is_novel():
    poses = np.stack([np.eye(4), np.eye(4)])
    depths = np.stack([np.full((SIZE, SIZE), 2.0), np.full((SIZE, SIZE), 6.0)])
    assert view_masks(depths, poses, INTRINSICS, CONFIG).novel[1].all()


def test_frames_that_do_not_move_are_static():
    assert static_frames(turn(np.array([0.0, 0.1, 0.0]))).tolist() == [False, True, False, True]


def test_cells_that_do_not_divide_the_frame_are_refused():
    with pytest.raises(ValueError, match="expected a divisor"):
        view_masks(sphere_depths(1), turn(np.zeros(0)), INTRINSICS, ViewMaskConfig(cell_pixels=5))
