import numpy as np

from worldloom.bench.walk import random_walk
from worldloom.camera import rotation_angle


def test_a_walk_begins_at_the_origin_and_has_as_many_poses_as_frames():
    poses = random_walk(np.random.default_rng(0), 57)
    assert poses.shape == (57, 4, 4)
    np.testing.assert_array_equal(poses[0], np.eye(4))


def test_a_frame_moves_and_turns_by_the_references_kinematics():
    poses = random_walk(np.random.default_rng(1), 2000)
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    turns = np.degrees(rotation_angle(poses[:-1], poses[1:]))
    assert set(steps.round(6)) == {0.0, 0.1235}
    assert set(turns.round(3)) == {0.0, 1.5}


def test_walks_follow_their_generator():
    first, again, other = (random_walk(np.random.default_rng(s), 100) for s in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
