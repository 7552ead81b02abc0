"""The procedural world: exact poses, exact pictures, walks that come back, worlds kept apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from worldloom.camera import Kinematics, integrate_poses, pose_matrix
from worldloom.data.schema import validate_clip
from worldloom.data.sources.agent import TRAJECTORIES
from worldloom.data.sources.procedural import (
    ProceduralConfig,
    capture_clip,
    render,
    world_from_seed,
    world_seed,
)

CONFIG = ProceduralConfig()
FAST = ProceduralConfig(supersample=1)


@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_the_same_seed_gives_the_same_bytes(trajectory: str) -> None:
    one, two = (
        capture_clip(FAST, seed=7, split="train", num_frames=33, trajectory=trajectory)
        for _ in range(2)
    )
    validate_clip(one)
    assert one.clip_id == two.clip_id
    for name in ("frames", "poses_c2w", "keyboard", "mouse"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()


def test_train_and_test_worlds_are_disjoint() -> None:
    train = {world_seed(seed, "train") for seed in (0, 1, 999_999_999)}
    test = {world_seed(seed, "test") for seed in (0, 1, 999_999_999)}
    assert not train & test
    assert max(train) < min(test)
    with pytest.raises(ValueError, match="expected 0 <= seed"):
        world_seed(1_000_000_000, "train")
    clips = [capture_clip(FAST, seed=0, split=s, num_frames=1) for s in ("train", "test")]
    assert not np.array_equal(clips[0].frames, clips[1].frames)


@pytest.mark.parametrize("seed", range(4))
def test_a_palindrome_mirrors_its_poses_and_pictures_exactly(seed: int) -> None:
    clip = capture_clip(FAST, seed=seed, split="train", num_frames=65, trajectory="palindrome")
    assert np.array_equal(clip.poses_c2w, clip.poses_c2w[::-1])
    assert np.array_equal(clip.frames, clip.frames[::-1])
    assert np.array_equal(clip.mouse[1:33], -clip.mouse[33:][::-1])
    assert np.ptp(clip.poses_c2w[:, :3, 3], axis=0).max() > 0.2


@pytest.mark.parametrize("seed", range(3))
def test_poses_are_what_the_actions_integrate_to_where_nothing_blocks(seed: int) -> None:
    clip = capture_clip(FAST, seed=seed, split="train", num_frames=65, trajectory="palindrome")
    start = clip.poses_c2w[0].astype(np.float64)
    poses = integrate_poses(start, clip.keyboard[1:], clip.mouse[1:], Kinematics())
    assert np.allclose(poses, clip.poses_c2w[1:], atol=1e-4)


@pytest.mark.slow
def test_walls_and_pillars_stop_the_player() -> None:
    radius = FAST.radius_metres
    for seed in range(6):
        clip = capture_clip(FAST, seed=seed, split="train", num_frames=65, trajectory="free")
        world = world_from_seed(seed)
        for x, z in clip.poses_c2w[:, [0, 2], 3].astype(float):
            assert world.is_free(x, z, radius - 1e-5)


def test_a_spin_returns_and_turning_right_moves_the_picture_left(
    rotation_error: Callable[..., float],
) -> None:
    clip = capture_clip(CONFIG, seed=5, split="train", num_frames=97, trajectory="spin")
    assert np.allclose(clip.poses_c2w[0], clip.poses_c2w[-1], atol=1e-5)
    right = rotation_error(clip, 4)
    assert right < 0.25 * rotation_error(clip, 4, flip=True)
    assert right < rotation_error(clip, 4, scale=0.93)
    assert right < rotation_error(clip, 4, scale=1.07)
    turn = np.sign(clip.mouse[1, 1])
    forward = clip.poses_c2w[0, :3, 2] @ clip.poses_c2w[1, :3, 0]
    assert np.sign(forward) == -turn


def test_a_frame_is_what_render_shows_at_its_pose() -> None:
    clip = capture_clip(CONFIG, seed=11, split="test", num_frames=9)
    world = world_from_seed(int(clip.world))
    for pose, frame in zip(clip.poses_c2w, clip.frames, strict=True):
        difference = np.abs(render(world, pose.astype(np.float64)).astype(int) - frame)
        assert difference.mean() < 0.5


def test_level_and_tilted_rendering_agree() -> None:
    world = world_from_seed(4)
    clip = capture_clip(CONFIG, seed=4, split="train", num_frames=1)
    position = clip.poses_c2w[0, :3, 3].astype(np.float64)
    level = render(world, pose_matrix(position, 0.3, 0.0)).astype(int)
    tilted = render(world, pose_matrix(position, 0.3, 1e-5)).astype(int)
    assert np.abs(level - tilted).mean() < 0.5


def test_looking_up_moves_the_horizon_down_as_a_pinhole_does() -> None:
    world = world_from_seed(4)
    clip = capture_clip(CONFIG, seed=4, split="train", num_frames=1)
    position = clip.poses_c2w[0, :3, 3].astype(np.float64)
    pitch = np.arctan(8 / CONFIG.intrinsics.fy)
    level = render(world, pose_matrix(position, 0.3, 0.0)).astype(int)
    up = render(world, pose_matrix(position, 0.3, pitch)).astype(int)
    middle = slice(30, 34)
    assert np.abs(up[24 + 8 : 40 + 8, middle] - level[24:40, middle]).mean() < 25
    assert np.abs(up[24:40, middle] - level[24:40, middle]).mean() > 25


def test_lengths_that_are_no_latents_are_refused() -> None:
    with pytest.raises(ValueError, match=r"num_frames=48: expected 4n\+1"):
        capture_clip(FAST, seed=0, split="train", num_frames=48)


@pytest.mark.slow
def test_laps_come_by_the_same_places_again_and_again() -> None:
    clip = capture_clip(CONFIG, seed=3, split="test", num_frames=601, trajectory="laps")
    for lap in range(1, 5):
        ahead = np.arange(121) if lap % 2 == 0 else np.arange(120, -1, -1)
        assert np.array_equal(clip.poses_c2w[lap * 120 + np.arange(121)], clip.poses_c2w[ahead])


def test_a_walk_that_leads_on_never_steps_back_or_aside() -> None:
    clip = capture_clip(CONFIG, seed=3, split="test", num_frames=97, trajectory="forward")
    assert not clip.keyboard[:, 1:].any()
    assert clip.keyboard[:, 0].mean() > 0.2


@pytest.mark.slow
def test_a_walk_comes_to_a_stand() -> None:
    clip = capture_clip(CONFIG, seed=3, split="test", num_frames=97, trajectory="still")
    assert np.array_equal(clip.frames[24:], np.repeat(clip.frames[24:25], 73, axis=0))
    assert not np.array_equal(clip.poses_c2w[0], clip.poses_c2w[24])
