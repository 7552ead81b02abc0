"""Depths of the renderer's world against closed forms and against its own pictures."""

from __future__ import annotations

import numpy as np
import pytest

from worldloom.camera import Intrinsics, pose_matrix
from worldloom.data.sources.procedural_world import EYE_HEIGHT_METRES, world_from_seed
from worldloom.data.sources.raycast import surface_depths

SIZE = 48
INTRINSICS = Intrinsics.from_fov(SIZE, SIZE)


def first_free_pose(world, yaw=0.3, pitch=0.0):
    x, z = (np.argwhere(~world.walls)[3] + 0.5) * 2.0
    return pose_matrix(np.array([x, 0.0, z]), yaw, pitch)


def depths_of(world, pose):
    return surface_depths(world, pose[None], INTRINSICS, SIZE, SIZE)[0]


def test_the_floor_lies_where_the_ray_meets_it():
    depth = depths_of(world_from_seed(3), first_free_pose(world_from_seed(3)))
    slope = (SIZE - 0.5 - INTRINSICS.cy) / INTRINSICS.fy
    assert depth[-1].max() == pytest.approx(EYE_HEIGHT_METRES / slope)


def test_a_surface_point_is_found_again_from_a_tilted_camera():
    world = world_from_seed(3)
    level, tilted = first_free_pose(world), first_free_pose(world, pitch=0.2)
    depth = depths_of(world, level)
    row, col = SIZE // 2, SIZE // 2
    ray = np.array([(col + 0.5) / INTRINSICS.fx - 1, (row + 0.5) / INTRINSICS.fy - 1, 1.0])
    point = level[:3, :3] @ (ray * depth[row, col]) + level[:3, 3]
    seen = tilted[:3, :3].T @ (point - tilted[:3, 3])
    u = int(seen[0] / seen[2] * INTRINSICS.fx + INTRINSICS.cx)
    v = int(seen[1] / seen[2] * INTRINSICS.fy + INTRINSICS.cy)
    assert depths_of(world, tilted)[v, u] == pytest.approx(seen[2], rel=0.1)


def test_a_pillar_stands_before_its_wall():
    world = world_from_seed(3)
    x, z, radius, _ = (float(value) for value in world.pillars[0])
    pose = pose_matrix(np.array([x, 0.0, z - radius - 0.5]), 0.0, 0.0)
    slope = depths_of(world, pose)[SIZE // 2 + 2, SIZE // 2]
    assert slope == pytest.approx(0.5, abs=0.02)
