"""Exact overlap agrees with closed forms, and is a volume: symmetric, between 0 and 1."""

from __future__ import annotations

import numpy as np
import pytest

from worldloom.bench.exact_overlap import ExactOverlap
from worldloom.bench.walk import random_walk
from worldloom.camera import pose_matrix
from worldloom.memory.frustum import REFERENCE_FRUSTUM, Frustum, placed

FRUSTUM = Frustum(near_metres=0.1, far_metres=10.0, tan_x=1.0, tan_y=0.5)
EXACT = ExactOverlap(FRUSTUM)


def looking(yaw=0.0, position=(0.0, 0.0, 0.0), pitch=0.0):
    return pose_matrix(np.array(position, dtype=float), yaw, pitch)


def test_identical_frusta_overlap_wholly():
    pose = looking(0.4, (3, 1, -2), pitch=0.3)
    assert EXACT.overlap(pose, pose) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(
    "other",
    [
        looking(np.pi),
        looking(0.0, (0, 0, 11)),
        looking(0.0, (0, 0, -11)),
        looking(0.0, (25, 0, 0)),
        looking(1.7),
    ],
)
def test_disjoint_frusta_overlap_not_at_all(other):
    assert EXACT.overlap(looking(), other) == 0.0


@pytest.mark.parametrize("shift", [0.5, 2.0, 5.0, 9.0])
def test_a_shift_along_the_axis_leaves_a_shorter_pyramid(shift):
    """The front camera's pyramid lies inside the rear one's, down to the rear one's far plane."""
    volume = 4 / 3 * FRUSTUM.tan_x * FRUSTUM.tan_y * ((10.0 - shift) ** 3 - 0.1**3)
    expected = volume / FRUSTUM.volume
    front, rear = looking(0.6, (np.sin(0.6) * shift, 0, np.cos(0.6) * shift)), looking(0.6)
    assert EXACT.overlap(front, rear) == pytest.approx(expected, rel=1e-9)
    assert EXACT.overlap(rear, front) == pytest.approx(expected, rel=1e-9)


def test_a_quarter_turn_of_a_right_angled_camera_leaves_a_face():
    assert EXACT.overlap(looking(), looking(np.pi / 2)) == pytest.approx(0.0, abs=1e-6)


def test_volumes_are_symmetric_and_agree_with_many_points():
    exact = ExactOverlap(REFERENCE_FRUSTUM)
    poses = random_walk(np.random.default_rng(3), 400)[::8]
    points = REFERENCE_FRUSTUM.volume_points(24, 24, 24)
    for query in poses[::10]:
        estimate = REFERENCE_FRUSTUM.contains(placed(points, query[None])[0], poses).mean(axis=0)
        overlaps = exact.overlaps(query, poses)
        np.testing.assert_allclose(overlaps, estimate, atol=0.01)
        reverse = [exact.overlap(pose, query) for pose in poses]
        np.testing.assert_allclose(overlaps, reverse, atol=1e-7)


def test_a_thin_overlap_that_no_probe_hits_is_found_by_the_linear_programme():
    """At the far end of the frustum, a slice of a millimetre."""
    slice_metres = 1e-3
    other = looking(np.pi, (0, 0, 10.0 - slice_metres + FRUSTUM.near_metres))
    face = looking(0.0, (0, 0, 10.0 - slice_metres - FRUSTUM.near_metres))
    assert EXACT.overlap(looking(), other) > 0
    tip = 4 / 3 * 0.5 * ((FRUSTUM.near_metres + slice_metres) ** 3 - FRUSTUM.near_metres**3)
    assert EXACT.overlap(looking(), face) * FRUSTUM.volume == pytest.approx(tip, rel=1e-6)
