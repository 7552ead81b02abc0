"""Yaw read from images: right on ground truth, standing and walking, sharp and blurred."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from walkers import blurred

from worldloom.camera import Intrinsics, Kinematics, integrate_poses, pose_matrix
from worldloom.data.sources.procedural import (
    ProceduralConfig,
    capture_clip,
    render,
    world_from_seed,
)
from worldloom.evaluate.config import TurningConfig, YawEstimatorConfig
from worldloom.evaluate.controllability import (
    TurningPair,
    YawEstimator,
    find_turning_pairs,
    pixel_distance,
    seen_at_start,
    seen_yaw_degrees,
    yaw_sign_fraction,
)

CONFIG = TurningConfig()
CAMERA = Intrinsics.from_fov(64, 64)


def estimator():
    return YawEstimator(CONFIG.estimator, intrinsics=CAMERA, height=64, width=64)


def walk(clip, units, *, frames=13):
    """Frames and poses of a steady turn on the spot where a clip starts."""
    keyboard = np.zeros((frames, 6))
    mouse = np.tile([0.0, units], (frames, 1))
    start = clip.poses_c2w[0].astype(float)
    poses = integrate_poses(start, keyboard, mouse, Kinematics())
    world = world_from_seed(int(clip.world))
    return np.stack([render(world, pose, ProceduralConfig()) for pose in poses]), poses


@pytest.mark.parametrize("units", [-0.2, -0.1, 0.1, 0.2])
def test_turning_on_the_spot_is_measured_within_a_candidate(clips, units):
    frames, poses = walk(clips[0], units)
    pairs = find_turning_pairs(poses, CONFIG)
    assert len(pairs) == 9
    seen = seen_yaw_degrees(frames, pairs, estimator())
    assert np.median(seen) == pytest.approx(4 * 15 * units, abs=1.5)
    assert yaw_sign_fraction(frames, pairs, estimator()).numerator == 9


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.0, 1.0, 2.0])
def test_signs_are_right_on_recorded_walks(clips, sigma):
    right, total = 0.0, 0.0
    for clip in clips:
        frames = blurred(clip.frames, sigma) if sigma else clip.frames
        found = yaw_sign_fraction(frames, find_turning_pairs(clip.poses_c2w, CONFIG), estimator())
        right, total = right + found.numerator, total + found.denominator
    assert total > 40
    assert right / total >= (0.9 if sigma else 0.95)


def walking_pairs(clips, units):
    """Pairs of images of a camera that walks forward, where the way is free, and turns."""
    firsts, seconds = [], []
    for clip in clips:
        world = world_from_seed(int(clip.world))
        ahead = clip.keyboard[:, 0] * (1 - clip.keyboard[:, 2:].any(axis=1))
        moved = np.linalg.norm(np.diff(clip.poses_c2w[:, :3, 3], axis=0), axis=1) > 0.2
        for start in range(clip.num_frames - 5):
            if ahead[start + 1 : start + 5].all() and moved[start : start + 4].all():
                mouse = np.tile([0.0, units], (4, 1))
                keys = np.tile([1.0, 0, 0, 0, 0, 0], (4, 1))
                pose = clip.poses_c2w[start].astype(float)
                end = integrate_poses(pose, keys, mouse, Kinematics())[-1]
                firsts.append(clip.frames[start])
                seconds.append(render(world, end, ProceduralConfig(supersample=1)))
    return np.stack(firsts), np.stack(seconds)


@pytest.mark.slow
def test_walking_forward_is_not_taken_for_a_turn():
    """Without candidate depths the same pairs come out worse."""
    config = ProceduralConfig(supersample=1)
    clips = [
        capture_clip(config, seed=seed, split="test", num_frames=49, trajectory="free")
        for seed in range(404, 408)
    ]
    turning_only = YawEstimatorConfig(travel_over_depth=(1e-6,), block_pixels=32)
    blind = YawEstimator(turning_only, intrinsics=CAMERA, height=64, width=64)
    right = {"depths": 0.0, "none": 0.0}
    total = 0
    for units in (-0.15, 0.15):
        firsts, seconds = (films[::2] for films in walking_pairs(clips, units))
        total += len(firsts)
        for name, found in (("depths", estimator()), ("none", blind)):
            right[name] += (np.sign(found.yaw_degrees(firsts, seconds)) == np.sign(units)).sum()
    assert total >= 10
    assert right["depths"] / total >= 0.9
    assert right["depths"] > right["none"]


def test_reversed_time_turns_the_other_way(clips):
    frames, poses = walk(clips[1], 0.15)
    pairs = find_turning_pairs(poses, CONFIG)
    swapped = [TurningPair(p.second, p.first, -p.yaw_degrees) for p in pairs]
    seen = seen_yaw_degrees(frames, pairs, estimator())
    back = seen_yaw_degrees(frames, swapped, estimator())
    assert np.median(back) == pytest.approx(-np.median(seen), abs=2)
    assert (np.sign(back) == -np.sign(seen)).all()


def test_copied_frames_turn_nowhere(clips):
    frames, poses = walk(clips[0], 0.15)
    still = np.broadcast_to(frames[:1], frames.shape)
    pairs = find_turning_pairs(poses, CONFIG)
    assert yaw_sign_fraction(still, pairs, estimator()).numerator == 0


def test_one_thread_looks_whatever_the_process_has(clips):
    class Watched(YawEstimator):
        def _scores(self, source, target):
            self.threads = torch.get_num_threads()
            return super()._scores(source, target)

    frames, threads = clips[0].frames[:4], torch.get_num_threads()
    watched = Watched(CONFIG.estimator, intrinsics=CAMERA, height=64, width=64)
    torch.set_num_threads(3)
    try:
        watched.yaw_degrees(frames[:2], frames[2:])
        assert watched.threads == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_only_steady_turns_count():
    yaw_rates = np.array([0, 0.1, 0.1, 0.1, 0.1, -0.1, -0.1, 0.05, 0.05, 0.05, 0.05])
    mouse = np.stack([np.zeros_like(yaw_rates), yaw_rates], axis=1)
    poses = integrate_poses(np.eye(4), np.zeros((len(mouse), 6)), mouse, Kinematics())
    found = find_turning_pairs(poses, CONFIG)
    assert [(pair.first, pair.second) for pair in found] == [(0, 4)]
    assert found[0].yaw_degrees == pytest.approx(6.0)


def test_a_turn_through_half_a_circle_does_not_jump():
    mouse = np.tile([0.0, 0.2], (130, 1))
    poses = integrate_poses(np.eye(4), np.zeros((130, 6)), mouse, Kinematics())
    yaws = [pair.yaw_degrees for pair in find_turning_pairs(poses.astype(np.float32), CONFIG)]
    assert yaws == pytest.approx([12.0] * 126, abs=1e-3)


def test_no_pairs_no_value(clips):
    assert yaw_sign_fraction(clips[0].frames, [], estimator()) is None


def test_pixel_distance_is_the_mean_absolute_difference():
    dark, light = np.zeros((2, 4, 4, 3), np.uint8), np.full((2, 4, 4, 3), 255, np.uint8)
    assert pixel_distance(dark, light) == 255
    assert pixel_distance(light, dark) == 255
    with pytest.raises(ValueError, match="expected one shape"):
        pixel_distance(dark, light[:1])


def turned_poses(degrees, pitch=0.0):
    start = pose_matrix(np.zeros(3), 0.0, np.radians(pitch))
    poses = [pose_matrix(np.zeros(3), np.radians(yaw), np.radians(pitch)) for yaw in degrees]
    return start, np.stack(poses)


def test_a_turn_leaves_the_share_of_the_start_view_that_geometry_says():
    # Across 90 degrees a column at x = tan(angle); after a right turn by 45 the middle ray looks
    # along what was the right edge, so the left half of the frame was seen.
    camera = Intrinsics.from_fov(64, 64)
    start, poses = turned_poses([0.0, 45.0, -45.0, 90.0])
    still, right, left, away = seen_at_start(start, poses, camera, 64, 64)
    assert still.all()
    middle = 32  # the row of the horizon: above and below, a turned frame looks past the old edges
    assert right[middle, :32].all()
    assert not right[middle, 32:].any()
    assert np.array_equal(left[:, ::-1], right)
    assert not away[:, 1:].any()


def test_a_tilted_camera_sees_the_same_share_of_its_horizon():
    camera = Intrinsics.from_fov(48, 80)
    start, poses = turned_poses([20.0], pitch=15.0)
    level_start, level = turned_poses([20.0])
    tilted = seen_at_start(start, poses, camera, 48, 80)
    flat = seen_at_start(level_start, level, camera, 48, 80)
    assert tilted.mean() == pytest.approx(flat.mean(), abs=0.12)
    assert not tilted.all()


def test_only_masked_pixels_count_and_some_must():
    first = np.zeros((1, 2, 2, 3), np.uint8)
    second = first.copy()
    second[0, 0, 0] = 30
    mask = np.zeros((1, 2, 2), bool)
    mask[0, 0] = True
    assert pixel_distance(first, second) == pytest.approx(7.5)
    assert pixel_distance(first, second, mask) == pytest.approx(15.0)
    with pytest.raises(ValueError, match="without a pixel"):
        pixel_distance(first, second, np.zeros_like(mask))
