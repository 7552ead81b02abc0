"""Sample points lie in the frustum, uniform in volume; containment follows the camera."""

from __future__ import annotations

import numpy as np
import pytest

from worldloom.camera import Intrinsics, pose_matrix
from worldloom.memory.frustum import REFERENCE_FRUSTUM, Frustum, placed, reference_points

WIDE = Frustum(near_metres=0.5, far_metres=8.0, tan_x=1.0, tan_y=0.6)


def looking(yaw, position=(0.0, 0.0, 0.0), pitch=0.0):
    return pose_matrix(np.array(position, dtype=float), yaw, pitch)


def test_a_camera_with_square_pixels_has_the_tangents_of_its_field_of_view():
    found = Frustum.of_camera(Intrinsics.from_fov(32, 64, 90.0), 0.1, 30.0)
    assert found.tan_x == pytest.approx(1.0)
    assert found.tan_y == pytest.approx(0.5)


def test_volume_is_that_of_a_pyramid_without_its_tip():
    base = (2 * 8.0) * (2 * 0.6 * 8.0)
    tip = (2 * 0.5) * (2 * 0.6 * 0.5)
    assert WIDE.volume == pytest.approx((base * 8.0 - tip * 0.5) / 3)


def test_volume_points_fill_equal_volumes_equally():
    points = WIDE.volume_points(8, 8, 8)
    assert points.shape == (512, 3)
    middle = np.cbrt((0.5**3 + 8.0**3) / 2)
    assert (points[:, 2] < middle).mean() == 0.5
    assert (points[:, 0] < 0).mean() == 0.5
    assert (points[:, 1] < 0).mean() == 0.5


def test_volume_points_stand_in_no_plane():
    """A face that turns across a grid would swallow whole rows of it at once."""
    points = WIDE.volume_points(4, 4, 4)
    for column in (points[:, 2], points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]):
        assert len(np.unique(column.round(9))) == len(points)


def test_volume_points_are_the_same_every_time():
    np.testing.assert_array_equal(WIDE.volume_points(3, 4, 5), WIDE.volume_points(3, 4, 5))


def test_the_references_points_have_linear_depths_and_reach_the_faces():
    points = reference_points()
    assert points.shape == (1000, 3)
    depths = np.unique(points[:, 2])
    np.testing.assert_allclose(depths, np.linspace(0.1, 30.0, 10))
    assert np.abs(points[:, 0] / points[:, 2]).max() == pytest.approx(1.0)
    per_depth = [(points[:, 2] == depth).sum() for depth in depths]
    assert per_depth == [100] * 10


def test_own_points_lie_inside_and_what_is_behind_does_not():
    poses = np.stack([looking(0.3, (1, 2, 3)), looking(0.3 + np.pi, (1, 2, 3))])
    seen = WIDE.contains(placed(WIDE.volume_points(4, 4, 4), poses[:1])[0], poses)
    assert seen[:, 0].all()
    assert not seen[:, 1].any()


@pytest.mark.parametrize(
    ("point", "is_inside"),
    [
        ((0, 0, 0.49), False),
        ((0, 0, 0.51), True),
        ((0, 0, 7.99), True),
        ((0, 0, 8.01), False),
        ((3.99, 0, 4), True),
        ((-4.01, 0, 4), False),
        ((0, 2.39, 4), True),
        ((0, -2.41, 4), False),
        ((0, 0, -4), False),
    ],
)
def test_each_face_parts_inside_from_outside(point, is_inside):
    pose = looking(0.7, (5, -1, 2), pitch=0.2)
    world = placed(np.array([point], dtype=float), pose[None])[0]
    assert WIDE.contains(world, pose[None])[0, 0] == is_inside
    halves = WIDE.planes()
    assert ((halves[:, :3] @ np.array(point) + halves[:, 3] <= 0).all()) == is_inside


def test_corners_lie_on_three_faces_each():
    halves = WIDE.planes()
    on_face = np.abs(WIDE.corners() @ halves[:, :3].T + halves[:, 3]) < 1e-12
    assert (on_face.sum(axis=1) == 3).all()


def test_the_reference_sees_ninety_degrees_from_ten_centimetres_to_thirty_metres():
    side = REFERENCE_FRUSTUM
    assert (side.near_metres, side.far_metres, side.tan_x, side.tan_y) == (0.1, 30.0, 1.0, 1.0)
