"""The camera's closed forms: which way is right, how far a step goes, where a ray points."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from worldloom.camera import (
    Intrinsics,
    Kinematics,
    integrate_poses,
    pose_matrix,
    ray_grid,
    relative_to,
    rotation_angle,
    world_rays,
    yaw_pitch,
)

KINEMATICS = Kinematics()
START = np.eye(4)
W, S, A, D = range(4)
Array = NDArray[np.float64]


def pressed(*keys: int, num_frames: int = 1) -> Array:
    keyboard = np.zeros((num_frames, 6))
    keyboard[:, list(keys)] = 1
    return keyboard


def moved(pitch: float = 0.0, yaw: float = 0.0, *, num_frames: int = 1) -> Array:
    return np.tile([pitch, yaw], (num_frames, 1))


def some_poses(count: int) -> Array:
    generator = np.random.default_rng(5)
    return np.stack(
        [
            pose_matrix(
                generator.normal(size=3), generator.uniform(-3, 3), generator.uniform(-1, 1)
            )
            for _ in range(count)
        ]
    )


def test_a_camera_at_rest_looks_along_z_with_x_right_and_y_down() -> None:
    pose = pose_matrix(np.array([1.0, 2.0, 3.0]), yaw=0.0, pitch=0.0)
    assert np.array_equal(pose[:3, :3], np.eye(3))
    assert np.array_equal(pose[:3, 3], [1, 2, 3])


def test_positive_yaw_turns_the_view_to_the_right() -> None:
    pose = pose_matrix(np.zeros(3), yaw=np.pi / 2, pitch=0.0)
    assert np.allclose(pose[:3, 2], [1, 0, 0])  # forward is world x
    assert np.allclose(pose[:3, 0], [0, 0, -1])  # right is world -z
    assert np.allclose(pose[:3, 1], [0, 1, 0])  # down stays down


def test_positive_pitch_looks_up() -> None:
    pose = pose_matrix(np.zeros(3), yaw=0.0, pitch=np.radians(30))
    assert np.allclose(pose[:3, 2], [0, -0.5, np.sqrt(0.75)])  # up is world -y


def test_a_rotation_keeps_lengths_and_hands() -> None:
    rotations = some_poses(8)[:, :3, :3]
    identity = np.tile(np.eye(3), (8, 1, 1))
    assert np.allclose(np.swapaxes(rotations, 1, 2) @ rotations, identity)
    assert np.allclose(np.linalg.det(rotations), 1)


@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (2.5, -1.2), (-3.0, 1.5)])
def test_yaw_and_pitch_come_back(yaw: float, pitch: float) -> None:
    assert np.allclose(yaw_pitch(pose_matrix(np.ones(3), yaw, pitch)), (yaw, pitch))


def test_forty_frames_at_a_tenth_turn_by_sixty_degrees() -> None:
    poses = integrate_poses(
        START, pressed(num_frames=40), moved(yaw=0.1, num_frames=40), KINEMATICS
    )
    yaw, pitch = yaw_pitch(poses[-1])
    assert np.degrees(yaw) == pytest.approx(60)
    assert pitch == 0
    assert not poses[:, :3, 3].any(), "turning moves nothing"


def test_pitch_stops_at_the_vertical() -> None:
    poses = integrate_poses(START, pressed(num_frames=9), moved(1.0, num_frames=9), KINEMATICS)
    assert np.degrees(yaw_pitch(poses[1])[1]) == pytest.approx(30)
    assert yaw_pitch(poses[-1])[1] == pytest.approx(np.pi / 2)


@pytest.mark.parametrize(
    ("key", "direction"),
    [(W, [0, 0, 1]), (S, [0, 0, -1]), (A, [-1, 0, 0]), (D, [1, 0, 0])],
)
def test_each_key_moves_its_way(key: int, direction: list[float]) -> None:
    poses = integrate_poses(START, pressed(key), moved(), KINEMATICS)
    assert np.allclose(poses[0, :3, 3], np.array(direction) * KINEMATICS.speed_metres)


def test_a_step_goes_along_the_mean_of_the_old_and_the_new_yaw() -> None:
    poses = integrate_poses(START, pressed(W), moved(yaw=2.0), KINEMATICS)
    half = np.radians(15)
    assert np.allclose(poses[0, :3, 3], 0.25 * np.array([np.sin(half), 0, np.cos(half)]))
    assert np.degrees(yaw_pitch(poses[0])[0]) == pytest.approx(30)


def test_looking_up_does_not_lift_the_walker() -> None:
    start = pose_matrix(np.zeros(3), 0.0, 0.6)
    assert np.allclose(
        integrate_poses(start, pressed(W), moved(), KINEMATICS)[0, :3, 3], [0, 0, 0.25]
    )


@pytest.mark.parametrize("keys", [(W, S), (A, D), (W, S, A, D), (4, 5)])
def test_opposite_and_unused_keys_move_nothing(keys: tuple[int, ...]) -> None:
    assert not integrate_poses(START, pressed(*keys), moved(), KINEMATICS)[0, :3, 3].any()


def test_a_diagonal_is_no_faster() -> None:
    step = integrate_poses(START, pressed(W, D), moved(), KINEMATICS)[0, :3, 3]
    assert np.linalg.norm(step) == pytest.approx(0.25)
    assert step[0] == pytest.approx(step[2])


def test_the_start_pose_is_not_written_to() -> None:
    start = pose_matrix(np.ones(3), 0.3, 0.1)
    before = start.copy()
    integrate_poses(start, pressed(W), moved(yaw=1.0), KINEMATICS)
    assert np.array_equal(start, before)


def test_a_walk_in_two_parts_is_the_walk_in_one() -> None:
    keyboard, mouse = pressed(W, A, num_frames=20), moved(0.02, 0.1, num_frames=20)
    whole = integrate_poses(START, keyboard, mouse, KINEMATICS)
    first = integrate_poses(START, keyboard[:8], mouse[:8], KINEMATICS)
    second = integrate_poses(first[-1], keyboard[8:], mouse[8:], KINEMATICS)
    assert np.allclose(np.concatenate([first, second]), whole)


def test_a_pose_relative_to_itself_is_the_identity() -> None:
    poses = some_poses(6)
    assert np.allclose(relative_to(poses, poses), np.eye(4))


def test_relative_poses_are_the_inverse_times_the_pose() -> None:
    anchor, *poses = some_poses(6)
    assert np.allclose(relative_to(anchor, np.stack(poses)), np.linalg.inv(anchor) @ poses)


def test_a_field_of_view_gives_its_focal_length() -> None:
    intrinsics = Intrinsics.from_fov(48, 64, 90.0)
    assert (intrinsics.fx, intrinsics.fy) == pytest.approx((32, 32))
    assert (intrinsics.cx, intrinsics.cy) == (32, 24)


def test_rays_are_unit_and_symmetric_and_point_right_and_down() -> None:
    rays = ray_grid(Intrinsics.from_fov(64, 64), 64, 64, 8, 8)
    assert rays.shape == (8, 8, 3)
    assert np.allclose(np.linalg.norm(rays, axis=-1), 1)
    assert np.allclose(rays[:, ::-1] * [-1, 1, 1], rays)
    assert np.allclose(rays[::-1] * [1, -1, 1], rays)
    assert (rays[:, 4:, 0] > 0).all()
    assert (rays[4:, :, 1] > 0).all()
    assert (rays[..., 2] > 0).all()


def test_a_coarse_ray_points_to_its_cells_centre() -> None:
    [[left, right]] = ray_grid(Intrinsics.from_fov(64, 64), 64, 64, 1, 2)
    assert np.allclose(left / left[2], [-0.5, 0, 1])
    assert np.allclose(right / right[2], [0.5, 0, 1])


def test_world_rays_start_at_the_camera_and_turn_with_it() -> None:
    rays = ray_grid(Intrinsics.from_fov(64, 64), 64, 64, 3, 3)
    pose = pose_matrix(np.array([1.0, 2.0, 3.0]), np.pi / 2, 0.0)
    seen = world_rays(np.stack([np.eye(4), pose]), rays)
    assert seen.shape == (2, 3, 3, 6)
    assert np.allclose(seen[0, ..., 3:], rays)
    assert np.allclose(seen[1, ..., :3], [1, 2, 3])
    assert np.allclose(seen[1, 1, 1, 3:], [1, 0, 0])


def test_the_angle_between_two_turns_is_their_difference() -> None:
    first, second = (pose_matrix(np.zeros(3), yaw, 0.0) for yaw in (0.2, 1.5))
    assert rotation_angle(first, second) == pytest.approx(1.3)
    assert rotation_angle(second, first) == pytest.approx(1.3)
    assert rotation_angle(first, first) == pytest.approx(0, abs=1e-7)


def test_where_a_camera_stands_has_no_part_in_the_angle() -> None:
    first, second = pose_matrix(np.zeros(3), 0.0, 0.0), pose_matrix(np.full(3, 9.0), 0.0, 0.7)
    angles = rotation_angle(np.stack([first, first]), np.stack([first, second]))
    assert np.allclose(angles, [0, 0.7])
