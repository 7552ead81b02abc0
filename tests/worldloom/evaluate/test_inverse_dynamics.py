"""What poses say moved the camera, how films are cut, and weights on disk."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worldloom.camera import Kinematics, integrate_poses
from worldloom.errors import ArtifactError
from worldloom.evaluate.inverse_dynamics import (
    InverseDynamics,
    InverseDynamicsConfig,
    Motion,
    action_accuracy,
    film_windows,
    load_inverse_dynamics,
    luminance,
    save_inverse_dynamics,
    true_motion,
)

CONFIG = InverseDynamicsConfig(height=32, width=32, channels=(8, 8), hidden=16)
KINEMATICS = Kinematics()


def walked(keys, yaw_units):
    keyboard, mouse = np.zeros((len(keys), 6)), np.zeros((len(keys), 2))
    for row, held in zip(keyboard, keys, strict=True):
        row[["WSAD".index(key) for key in held]] = 1
    mouse[:, 1] = yaw_units
    poses = integrate_poses(np.eye(4), keyboard, mouse, KINEMATICS)
    return np.concatenate([np.eye(4)[None], poses]), keyboard[:, :4]


def test_the_poses_of_a_walk_give_its_keys_and_turns_back():
    units = np.array([0.1, -0.2, 0.0, 0.2, 0.1, 0.0, -0.1, 0.1])
    poses, keys = walked(["W", "WD", "A", "S", "", "D", "WA", "W"], units)
    motion = true_motion(poses, KINEMATICS.speed_metres)
    # Frame f is moved into by action f - 1 here; the first two and the last two have no window.
    assert np.array_equal(motion.keys, keys[2:6])
    assert motion.turn_degrees == pytest.approx(15 * units[2:6])


def test_windows_and_motions_of_a_film_belong_together(clips):
    clip = clips[0]
    windows = film_windows(luminance(clip.frames, CONFIG))
    motion = true_motion(clip.poses_c2w.astype(float), KINEMATICS.speed_metres)
    assert len(windows) == len(motion.keys) == len(motion.turn_degrees) == clip.num_frames - 5
    pictures = luminance(clip.frames, CONFIG)
    assert torch.equal(windows[4], pictures[4:10])


def test_accuracy_counts_whole_sets_of_keys_and_near_turns():
    asked = Motion(np.array([[1, 0, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0.0]]), np.array([0, 1.5, -3]))
    seen = Motion(np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0.0]]), np.array([0, 1, 3.0]))
    found = action_accuracy(seen, asked)
    assert found.key_accuracy == pytest.approx(2 / 3)
    assert found.turn_error_degrees == pytest.approx(6.5 / 3)
    assert found.turn_accuracy == pytest.approx(2 / 3)


def test_a_stored_network_reads_the_same(clips, tmp_path):
    torch.manual_seed(0)
    network = InverseDynamics(CONFIG).eval()
    save_inverse_dynamics(tmp_path, network)
    first, second = (n.read(clips[0].frames) for n in (network, load_inverse_dynamics(tmp_path)))
    assert np.array_equal(first.turn_degrees, second.turn_degrees)
    assert np.array_equal(first.keys, second.keys)


def test_a_missing_or_foreign_network_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="missing"):
        load_inverse_dynamics(tmp_path)
    save_inverse_dynamics(tmp_path, InverseDynamics(CONFIG))
    other = InverseDynamicsConfig(height=32, width=32, channels=(8, 4), hidden=16)
    (tmp_path / "inverse_dynamics.json").write_text(other.model_dump_json())
    with pytest.raises(ArtifactError, match="cannot be used"):
        load_inverse_dynamics(tmp_path)


def test_a_size_that_does_not_halve_is_refused():
    with pytest.raises(ValueError, match="multiples of 16"):
        InverseDynamicsConfig(height=40)
