"""The camera's closed forms: which way is right, how far a step goes, where a ray points."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from worldloom.camera import (
    REFERENCE_KINEMATICS,
    Intrinsics,
    Kinematics,
    cell_ray_maps,
    framewise_relative,
    integrate_poses,
    memory_relative,
    pose_matrix,
    ray_cells,
    ray_grid,
    relative_to,
    require_rigid,
    rotation_angle,
    world_rays,
    yaw_pitch,
)
from worldloom.errors import DataError

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


def published_poses(keyboard: Array, mouse: Array) -> Array:
    """The published integrator and extrinsics, step by step, in its own left-handed world.

    Axes x forward, y right, z up, centimetres and degrees; R = Rz(yaw) Ry(pitch), then the
    camera's axes. Row f is what moves the camera into pose f here, so it is applied before it.
    """
    x = y = pitch = yaw = 0.0
    poses = []
    for (w, s, a, d, *_), (pitch_rate, yaw_rate) in zip(keyboard, mouse, strict=True):
        pitch += 15 * pitch_rate if abs(pitch_rate) >= 0.02 else 0
        new_yaw = yaw + (15 * yaw_rate if abs(yaw_rate) >= 0.02 else 0)
        forward, right = 12.35 * (w - s), 12.35 * (d - a)
        if forward and right:
            forward, right = 8.73 * np.sign(forward), 8.73 * np.sign(right)
        mean = np.radians((yaw + new_yaw) / 2)
        x += np.cos(mean) * forward - np.sin(mean) * right
        y += np.sin(mean) * forward + np.cos(mean) * right
        yaw = new_yaw
        p, q = np.radians([pitch, yaw])
        around_z = np.array([[np.cos(q), -np.sin(q), 0], [np.sin(q), np.cos(q), 0], [0, 0, 1]])
        around_y = np.array([[np.cos(p), 0, np.sin(p)], [0, 1, 0], [-np.sin(p), 0, np.cos(p)]])
        pose = np.eye(4)
        pose[:3, :3] = around_z @ around_y @ np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]])
        pose[:3, 3] = 0.01 * x, 0.01 * y, 0
        poses.append(pose)
    return np.stack(poses)


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


def test_a_dead_zone_swallows_small_mice_and_leaves_others_whole() -> None:
    kinematics = Kinematics(mouse_dead_zone=0.02)
    for rate, degrees in ((0.0199, 0.0), (-0.0199, 0.0), (0.02, 0.3), (-0.1, -1.5)):
        pose = integrate_poses(START, pressed(), moved(rate, rate), kinematics)[0]
        assert np.degrees(yaw_pitch(pose)) == pytest.approx([degrees, degrees], abs=1e-9)


def test_an_inverted_pitch_lowers_the_view_and_nothing_else() -> None:
    plain, inverted = (
        integrate_poses(START, pressed(W), moved(0.1, 0.2), Kinematics(is_pitch_inverted=flag))[0]
        for flag in (False, True)
    )
    assert np.degrees(yaw_pitch(plain)) == pytest.approx([3.0, 1.5])
    assert np.degrees(yaw_pitch(inverted)) == pytest.approx([3.0, -1.5])
    assert np.array_equal(plain[:3, 3], inverted[:3, 3])


def test_the_references_forty_frames_walk_under_five_metres_and_turn_sixty_degrees() -> None:
    walked = integrate_poses(
        START, pressed(W, num_frames=40), moved(num_frames=40), REFERENCE_KINEMATICS
    )[-1]
    assert walked[:3, 3] == pytest.approx([0, 0, 4.94])
    turned = integrate_poses(
        START, pressed(num_frames=40), moved(yaw=0.1, num_frames=40), REFERENCE_KINEMATICS
    )[-1]
    assert np.degrees(yaw_pitch(turned)[0]) == pytest.approx(60)


def test_the_references_poses_are_the_published_integrators_seen_from_the_camera() -> None:
    generator = np.random.default_rng(4)
    keyboard = np.zeros((30, 6))
    keyboard[:, :4] = generator.integers(0, 2, (30, 4))
    mouse = generator.choice([-0.1, 0.0, 0.01, 0.05, 0.1], (30, 2))
    published = published_poses(keyboard, mouse)
    made = integrate_poses(START, keyboard, mouse, REFERENCE_KINEMATICS)
    # The worlds differ in axes and hands; what a camera sees of another must not.
    expected = np.linalg.inv(published[:-1]) @ published[1:]
    found = relative_to(made[:-1], made[1:])
    assert found[:, :3, :3] == pytest.approx(expected[:, :3, :3], abs=1e-12)
    assert found[:, :3, 3] == pytest.approx(expected[:, :3, 3], abs=6e-5)  # 8.73 is rounded


def test_the_references_camera_sees_ninety_degrees_both_ways() -> None:
    intrinsics = Intrinsics.reference(704, 1280)
    assert (intrinsics.fx, intrinsics.fy) == pytest.approx((640, 352))
    assert (intrinsics.cx, intrinsics.cy) == (640, 352)
    corner = ray_grid(intrinsics, 704, 1280, 704, 1280)[0, 0]
    assert corner / corner[2] == pytest.approx([-1 + 1 / 1280, -1 + 1 / 704, 1])


def test_poses_from_the_integrator_are_rigid_in_either_precision() -> None:
    poses = some_poses(8)
    require_rigid(poses)
    require_rigid(poses.astype(np.float32))


def spoilt(**values: object) -> Array:
    poses = some_poses(5)
    for place, value in values.items():
        if place == "rotation":
            poses[3, :3, :3] = value
        else:
            row, column = map(int, place.removeprefix("at_").split("_"))
            poses[3, row, column] = value
    return poses


@pytest.mark.parametrize(
    ("poses", "words"),
    [
        (np.eye(4), "c2w has shape [4, 4], expected [frames, 4, 4]"),
        (np.zeros((2, 3, 4)), "c2w has shape [2, 3, 4], expected [frames, 4, 4]"),
        (np.zeros((0, 4, 4)), "c2w has shape [0, 4, 4], expected [frames, 4, 4]"),
        (spoilt(at_0_3=np.nan), "c2w at frame 3 holds nan, expected numbers"),
        (spoilt(at_1_1=-np.inf), "c2w at frame 3 holds -inf, expected numbers"),
        (spoilt(at_3_3=1.5), "c2w at frame 3 has a last row off by 0.5, expected 0 0 0 1"),
        (spoilt(at_3_1=0.25), "c2w at frame 3 has a last row off by 0.25, expected 0 0 0 1"),
        (
            spoilt(rotation=np.diag([1.0, 1.0, 1.1])),
            "c2w at frame 3 is not rigid: rotation off by 0.21, expected at most 0.001",
        ),
        (
            spoilt(rotation=np.diag([1.0, 1.0, -1.0])),
            "c2w at frame 3 mirrors: determinant -1, expected 1",
        ),
    ],
)
def test_poses_that_are_not_rigid_are_refused_by_frame_and_value(poses: Array, words: str) -> None:
    with pytest.raises(DataError) as caught:
        require_rigid(poses, name="c2w")
    assert str(caught.value) == words


def test_the_published_extrinsics_are_refused_because_their_world_is_left_handed() -> None:
    with pytest.raises(DataError, match="poses at frame 0 mirrors: determinant -1"):
        require_rigid(published_poses(pressed(W), moved()))


def test_pure_turning_leaves_framewise_translations_at_zero() -> None:
    start = pose_matrix(np.array([3.0, -1.0, 1000.1]), 0.4, 0.2)
    poses = integrate_poses(
        start, pressed(num_frames=6), moved(0.01, 0.1, num_frames=6), KINEMATICS
    )
    relative = framewise_relative(poses)
    assert not relative[:, :3, 3].any()
    assert np.array_equal(relative[0], np.eye(4))
    flat = framewise_relative(
        integrate_poses(START, pressed(num_frames=6), moved(yaw=0.1, num_frames=6), KINEMATICS)
    )
    turn = pose_matrix(np.zeros(3), np.radians(1.5), 0.0)
    assert flat[1:] == pytest.approx(np.tile(turn, (5, 1, 1)))


def test_pure_walking_becomes_steps_of_unit_length() -> None:
    poses = integrate_poses(START, pressed(W, num_frames=6), moved(num_frames=6), KINEMATICS)
    relative = framewise_relative(poses)
    assert relative[0] == pytest.approx(np.eye(4))
    assert relative[1:, :3, 3] == pytest.approx(np.tile([0.0, 0.0, 1.0], (5, 1)))


def test_a_windows_longest_step_has_length_one_and_the_others_keep_their_share() -> None:
    poses = np.stack([pose_matrix(np.array([0.0, 0.0, z]), 0.0, 0.0) for z in (5, 6, 10, 9)])
    assert framewise_relative(poses)[:, 2, 3] == pytest.approx([0, 0.25, 1, -0.25])


def test_framewise_poses_chain_back_to_the_window() -> None:
    poses = some_poses(7)
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=-1)
    made = framewise_relative(poses)
    made[:, :3, 3] *= steps.max()
    pose, chained = poses[0], []
    for step in made:
        pose = pose @ step
        chained.append(pose)
    assert np.stack(chained) == pytest.approx(poses)


def test_memory_is_seen_from_its_own_query_at_unit_distance() -> None:
    query = pose_matrix(np.array([1.0, 0.0, 1.0]), np.pi / 2, 0.0)  # looks along world x
    ahead = pose_matrix(np.array([9.0, 0.0, 1.0]), np.pi, 0.0)
    beside = pose_matrix(np.array([1.0, 0.0, -1.5]), np.pi / 2, 0.0)
    same = pose_matrix(np.array([1.0, 0.0, 1.0]), 0.0, 0.0)
    made = memory_relative(np.stack([query] * 3), np.stack([ahead, beside, same]))
    assert made[:, :3, 3] == pytest.approx(np.array([[0, 0, 1], [1, 0, 0], [0, 0, 0]]))
    assert made[:, :3, :3] == pytest.approx(
        relative_to(query, np.stack([ahead, beside, same]))[:, :3, :3]
    )


def test_a_memory_at_its_querys_place_is_not_blown_up_from_rounding() -> None:
    place = np.array([1234.5, -3.2, 987.6])
    query, memory = pose_matrix(place, 0.3, 0.1), pose_matrix(place + 1e-9, -1.2, 0.0)
    assert not memory_relative(query, memory)[:3, 3].any()


def test_cells_hold_every_pixels_ray_row_by_row() -> None:
    intrinsics = Intrinsics.reference(12, 8)
    cells = ray_cells(intrinsics, 12, 8, 3, 2)
    rays = ray_grid(intrinsics, 12, 8, 12, 8)
    assert cells.shape == (3, 16, 3, 2)
    for row, col, axis in ((0, 0, 0), (5, 6, 1), (11, 7, 2), (4, 3, 0)):
        pixel = (row % 4) * 4 + col % 4
        assert cells[axis, pixel, row // 4, col // 4] == rays[row, col, axis]


def test_a_ray_map_is_what_a_pencil_finds_for_one_pixel() -> None:
    # 32 x 64 pixels, cells of 16: row 20, column 50 lies in cell (1, 3), as its pixel 4 x 16 + 2.
    # Its ray is ((50.5 - 32) / 32, (20.5 - 16) / 16, 1) = (0.578125, 0.28125, 1), not yet unit.
    # A camera turned by 90 degrees to the right sends (x, y, z) to (z, y, -x).
    pose = pose_matrix(np.array([1.0, 2.0, 3.0]), np.pi / 2, 0.0)
    cells = ray_cells(Intrinsics.reference(32, 64), 32, 64, 2, 4)
    maps = cell_ray_maps(np.stack([np.eye(4), pose]), cells)
    assert maps.shape == (2, 6 * 256, 2, 4)
    assert maps.dtype == np.float32
    length = np.sqrt(0.578125**2 + 0.28125**2 + 1)
    channels = maps[:, 66::256, 1, 3]
    assert channels[0] == pytest.approx([0, 0, 0, 0.578125 / length, 0.28125 / length, 1 / length])
    assert channels[1] == pytest.approx([1, 2, 3, 1 / length, 0.28125 / length, -0.578125 / length])


def test_the_references_latent_pixel_has_1536_ray_channels() -> None:
    cells = ray_cells(Intrinsics.reference(64, 96), 64, 96, 4, 6)
    assert cell_ray_maps(np.eye(4)[None], cells).shape == (1, 1536, 4, 6)


def test_ray_maps_are_the_full_image_moved_from_space_to_depth() -> None:
    intrinsics, poses = Intrinsics.reference(16, 24), some_poses(3)
    image = world_rays(poses, ray_grid(intrinsics, 16, 24, 16, 24))  # [T, 16, 24, 6]
    expected = np.zeros((3, 6, 8, 8, 2, 3))
    for channel in range(6):
        for row in range(8):
            for col in range(8):
                expected[:, channel, row, col] = image[:, row::8, col::8, channel]
    maps = cell_ray_maps(poses, ray_cells(intrinsics, 16, 24, 2, 3))
    assert maps == pytest.approx(expected.reshape(3, 384, 2, 3), abs=1e-6)


def test_an_image_that_does_not_divide_into_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="image of 30 x 64: expected multiples of 4 x 4 cells"):
        ray_cells(Intrinsics.reference(30, 64), 30, 64, 4, 4)
