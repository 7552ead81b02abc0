"""The exploring agent: closed paths close, moves undo each other, walls turn it away."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from worldloom.camera import Kinematics, integrate_poses, relative_to
from worldloom.data.sources.agent import (
    TRAJECTORIES,
    TRAJECTORY_SHARES,
    Explorer,
    Move,
    choose_trajectory,
    displacement,
    loop_moves,
    spin_moves,
)

KINEMATICS = Kinematics(turn_degrees_per_unit=15, speed_metres=0.25)


class _Field:
    """Surroundings for tests: open, or closed ahead."""

    def __init__(self, closed: bool) -> None:
        self._closed = closed

    def is_blocked(self, move: Move) -> bool:
        return self._closed and bool(move.keys)

    def open_side(self) -> int:
        return -1


def _walk(moves: list[Move]) -> np.ndarray:
    keyboard = np.array([move.keyboard() for move in moves])
    mouse = np.array([(move.pitch, move.yaw) for move in moves])
    return integrate_poses(np.eye(4), keyboard, mouse, KINEMATICS)


@pytest.mark.parametrize("variant", range(4))
def test_a_loop_ends_where_it_began(variant: int) -> None:
    moves = list(loop_moves(96, 15, variant))
    assert len(moves) == 96
    poses = _walk(moves)
    assert np.allclose(poses[-1], np.eye(4), atol=1e-9)
    assert np.abs(poses[:, :3, 3]).max() > 1.5


def test_a_spin_turns_all_the_way_round_on_the_spot() -> None:
    poses = _walk(list(spin_moves(96, 15, -1)))
    assert np.allclose(poses[-1], np.eye(4), atol=1e-9)
    assert np.allclose(poses[:, :3, 3], 0)
    assert relative_to(np.eye(4), poses[0])[0, 2] < 0


@pytest.mark.parametrize("num_actions", [4, 16, 32])
def test_short_paths_turn_no_faster_than_a_hand_does(num_actions: int) -> None:
    moves = list(spin_moves(num_actions, 15, 1))
    for variant in range(4):
        moves += loop_moves(num_actions, 15, variant)
    assert len(moves) == 5 * num_actions
    assert max(abs(move.yaw) for move in moves) <= 0.5


def test_reversed_moves_undo_a_walk() -> None:
    explorer = Explorer(np.random.default_rng(1))
    moves = [explorer.next_move(_Field(closed=False)) for _ in range(60)]
    poses = _walk(moves + [move.reversed() for move in moves[::-1]])
    assert np.allclose(poses[-1], np.eye(4), atol=1e-9)
    assert np.allclose(poses[60 : 60 + 59], poses[:59][::-1], atol=1e-9)


def test_an_agent_before_a_wall_turns_to_the_open_side() -> None:
    explorer = Explorer(np.random.default_rng(0))
    moves = [explorer.next_move(_Field(closed=True)) for _ in range(200)]
    assert not any(move.keys for move in moves)
    assert np.mean([move.yaw < 0 for move in moves]) > 0.6


def test_an_agent_in_the_open_mostly_walks_and_turns_and_holds_its_moves() -> None:
    explorer = Explorer(np.random.default_rng(3))
    moves = [explorer.next_move(_Field(closed=False)) for _ in range(3000)]
    assert np.mean([bool(move.keys) for move in moves]) > 0.6
    assert np.mean(["W" in move.keys for move in moves]) > 0.4
    for key in "ASD":
        assert np.mean([key in move.keys for move in moves]) > 0.02
    changes = sum(a != b for a, b in itertools.pairwise(moves))
    assert changes < len(moves) / 5


def test_displacement_is_what_the_integrator_does() -> None:
    move = Move("WD", yaw=0.3)
    x, z = displacement(move, 0.4, KINEMATICS)
    start = np.eye(4)
    cos, sin = np.cos(0.4), np.sin(0.4)
    start[:3, :3] = [[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]
    pose = integrate_poses(start, move.keyboard()[None], np.array([[0, 0.3]]), KINEMATICS)[0]
    assert np.allclose((x, z), pose[[0, 2], 3])


def test_trajectories_are_drawn_by_their_shares() -> None:
    drawn = [choose_trajectory(np.random.default_rng(seed)) for seed in range(1000)]
    for kind, share in zip(TRAJECTORIES, TRAJECTORY_SHARES, strict=True):
        assert abs(drawn.count(kind) / 1000 - share) < 0.05
