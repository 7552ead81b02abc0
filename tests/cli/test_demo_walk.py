"""The demo's walks: recordings in held-out worlds whose poses are what the actions make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cli.demo_walk import RecordedWalk, commands, record_walks
from worldloom.actions import read_actions
from worldloom.camera import Kinematics, integrate_poses, yaw_pitch
from worldloom.data.captions import TemplateCaptioner
from worldloom.errors import DataError

pytest.importorskip("vizdoom")

NUM_FRAMES = 24
SIZE = (24, 40)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], list[RecordedWalk]]:
    return lambda: record_walks(tmp_path_factory.mktemp("walks"), SIZE, num_frames=NUM_FRAMES)


@pytest.fixture(scope="module")
def walks(record: Callable[[], list[RecordedWalk]]) -> list[RecordedWalk]:
    return record()


def test_there_is_a_walk_in_each_kind_of_world_at_the_releases_size(
    walks: list[RecordedWalk],
) -> None:
    assert [walk.name for walk in walks] == ["procedural", "freedoom"]
    assert [walk.clip.source for walk in walks] == ["procedural", "vizdoom"]
    for walk in walks:
        assert walk.clip.split == "test"
        assert walk.clip.prompt == TemplateCaptioner().caption(walk.clip)  # as training was told
        assert walk.clip.frames.shape == (NUM_FRAMES + 1, *SIZE, 3)
        assert len(walk.actions) == NUM_FRAMES


@pytest.mark.parametrize(("index", "metres"), [(0, 2e-3), (1, 0.4)])
def test_a_recorded_walk_is_what_its_actions_make(
    walks: list[RecordedWalk], index: int, metres: float
) -> None:
    walk = walks[index]
    poses = walk.clip.poses_c2w.astype(np.float64)
    made = integrate_poses(
        poses[0],
        walk.actions.keyboard.astype(float),
        walk.actions.mouse.astype(float),
        Kinematics(),
    )
    assert np.allclose(made[:, :3, :3], poses[1:, :3, :3], atol=1e-3)
    assert np.linalg.norm(made[:, :3, 3] - poses[1:, :3, 3], axis=1).max() < metres


def test_the_actions_are_left_for_another_play(walks: list[RecordedWalk]) -> None:
    assert walks[0].actions_file.name == "actions.json"
    for walk in walks:
        read = read_actions(walk.actions_file)
        assert np.array_equal(read.keyboard, walk.actions.keyboard)
        assert np.allclose(read.mouse, walk.actions.mouse, rtol=0, atol=1e-6)


def test_walks_are_the_same_each_time(
    walks: list[RecordedWalk], record: Callable[[], list[RecordedWalk]]
) -> None:
    for first, second in zip(walks, record(), strict=True):
        assert first.clip.world == second.clip.world
        assert np.array_equal(first.clip.frames, second.clip.frames)


def test_commands_turn_both_ways_alike_and_walk_straight_on() -> None:
    told = commands()
    turned = {
        name: integrate_poses(
            np.eye(4), actions.keyboard.astype(float), actions.mouse.astype(float), Kinematics()
        )[-1]
        for name, actions in told.items()
    }
    yaws = {name: yaw_pitch(pose)[0] for name, pose in turned.items()}
    assert yaws["turn left"] == pytest.approx(-yaws["turn right"])
    assert 0.5 < yaws["turn right"] < 1.5
    assert turned["walk on"][2, 3] > 1
    assert yaws["walk on"] == 0


def test_a_length_that_is_no_whole_segment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--frames 25: expected a multiple of 12"):
        record_walks(tmp_path, SIZE, num_frames=25)
    assert not list(tmp_path.iterdir())
