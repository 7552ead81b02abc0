"""The demo's walk: a recording in a held-out world whose poses are what the actions make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cli.demo_walk import record_walk
from worldloom.actions import read_actions
from worldloom.camera import Kinematics, integrate_poses
from worldloom.errors import DataError

NUM_FRAMES = 24


def test_a_recorded_walk_is_what_its_actions_make(tmp_path: Path) -> None:
    walk = record_walk(tmp_path, num_frames=NUM_FRAMES)
    assert walk.clip.split == "test"
    assert walk.clip.frames.shape == (NUM_FRAMES + 1, 64, 64, 3)
    assert len(walk.actions) == NUM_FRAMES
    poses = walk.clip.poses_c2w.astype(np.float64)
    made = integrate_poses(
        poses[0],
        walk.actions.keyboard.astype(float),
        walk.actions.mouse.astype(float),
        Kinematics(),
    )
    assert np.allclose(made, poses[1:], atol=1e-3)


def test_the_actions_are_left_for_another_play(tmp_path: Path) -> None:
    walk = record_walk(tmp_path, num_frames=NUM_FRAMES)
    read = read_actions(walk.actions_file)
    assert np.array_equal(read.keyboard, walk.actions.keyboard)
    assert np.allclose(read.mouse, walk.actions.mouse, rtol=0, atol=1e-6)


def test_a_walk_is_the_same_each_time(tmp_path: Path) -> None:
    first, second = (record_walk(tmp_path, num_frames=NUM_FRAMES) for _ in range(2))
    assert first.clip.world == second.clip.world
    assert np.array_equal(first.clip.frames, second.clip.frames)


def test_a_length_that_is_no_whole_segment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--frames 25: expected a multiple of 12"):
        record_walk(tmp_path, num_frames=25)
    assert not list(tmp_path.iterdir())
