"""A view from elsewhere is found where it was taken; mush is not found at all."""

from __future__ import annotations

import numpy as np
import pytest
from walkers import CONFIG, blurred

from worldloom.data.sources.procedural import render, world_from_seed
from worldloom.evaluate.pose_error import (
    FoundPose,
    PoseSearch,
    PoseSearchConfig,
    moved,
    pose_errors,
)


@pytest.fixture(scope="module")
def search(clips):
    clip = clips[1]
    return PoseSearch(
        world_from_seed(int(clip.world)), clip.intrinsics, clip.frames.shape[1:3],
        PoseSearchConfig(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def pose(clips):
    return clips[1].poses_c2w[16].astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("offset", [(0.0, 0.0, 0.0), (3.3, 0.0, 0.0), (-5.0, 0.3, -0.2)])
def test_a_view_is_found_where_it_was_taken(clips, search, pose, offset):
    degrees, ahead, right = offset
    world = world_from_seed(int(clips[1].world))
    frame = render(world, moved(pose, np.array([np.radians(degrees), ahead, right])), CONFIG)
    found = search.find(frame, pose)
    assert found.is_located
    assert found.yaw_degrees == pytest.approx(degrees, abs=0.6)  # a pixel is 1.4 degrees
    assert (found.ahead_metres, found.right_metres) == pytest.approx((ahead, right), abs=0.1)


def test_blur_and_another_brightness_do_not_move_it(search, pose, clips):
    frame = blurred(clips[1].frames[16:17], 2.0)[0]
    found = search.find((frame * 0.7 + 20).astype(np.uint8), pose)
    assert abs(found.yaw_degrees) < 0.75
    assert found.metres < 0.15


def test_another_place_is_not_located(search, pose):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    assert not search.find(noise, pose).is_located


def test_a_place_beyond_the_grid_is_not_located(search, pose, clips):
    world = world_from_seed(int(clips[1].world))
    frame = render(world, moved(pose, np.array([np.radians(14.0), 0.0, 0.0])), CONFIG)
    assert not search.find(frame, pose).is_located


def found_at(yaw, *, is_located=True):
    return FoundPose(
        yaw_degrees=yaw, ahead_metres=0.3, right_metres=0.4, correlation=0.9, is_located=is_located
    )


def test_errors_are_means_over_located_frames_and_turns_over_neighbours():
    found = [found_at(1.0), found_at(-1.0), found_at(40.0, is_located=False), found_at(2.0)]
    errors = pose_errors(found, [0, 4, 8, 12])
    assert (errors.num_frames, errors.num_located) == (4, 3)
    assert errors.yaw_degrees == pytest.approx(4 / 3)
    assert errors.metres == pytest.approx(0.5)
    assert errors.turn_degrees_per_frame == pytest.approx(0.5)


def test_a_walk_that_is_nowhere_has_no_errors():
    errors = pose_errors([found_at(1.0, is_located=False)], [0])
    assert (errors.yaw_degrees, errors.metres, errors.turn_degrees_per_frame) == (None, None, None)
