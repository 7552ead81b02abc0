"""Camera geometry: c2w poses, intrinsics, the pose integrator, rays. The only place that knows c2w.

World axes: x right, y down, z forward at yaw 0; metres and radians. A pose is a 4x4
camera-to-world matrix whose camera looks along +z with x right and y down. Positive yaw turns the
view to the right, positive pitch looks up. Kinematics after Matrix-Game 3.0 (research code):
one step a frame, displacement along the mean of the old and the new yaw.
It does not know pixels' content, actions' files or any model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from worldloom.config import Config

FloatArray = NDArray[np.float64]


class Kinematics(Config):
    """How a frame's action moves the camera."""

    turn_degrees_per_unit: float = Field(15.0, gt=0, description="degrees a frame per mouse unit")
    speed_metres: float = Field(0.25, ge=0, description="metres a frame with one key held")


class Intrinsics(Config):
    """Pinhole intrinsics in pixels of a (height, width) image."""

    fx: float = Field(gt=0, description="focal length along x, pixels")
    fy: float = Field(gt=0, description="focal length along y, pixels")
    cx: float = Field(description="principal point x, pixels")
    cy: float = Field(description="principal point y, pixels")

    @classmethod
    def from_fov(cls, height: int, width: int, horizontal_fov_degrees: float = 90.0) -> Intrinsics:
        """Return intrinsics with square pixels for a horizontal field of view."""
        focal = width / 2 / float(np.tan(np.radians(horizontal_fov_degrees) / 2))
        return cls(fx=focal, fy=focal, cx=width / 2, cy=height / 2)


def pose_matrix(position: FloatArray, yaw: float, pitch: float) -> FloatArray:
    """Return the c2w matrix of a camera at `position` [3] with yaw (right) and pitch (up)."""
    cos_yaw, sin_yaw, cos_pitch, sin_pitch = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    turn = np.array([[cos_yaw, 0, sin_yaw], [0, 1, 0], [-sin_yaw, 0, cos_yaw]])
    tilt = np.array([[1, 0, 0], [0, cos_pitch, -sin_pitch], [0, sin_pitch, cos_pitch]])
    pose = np.eye(4)
    pose[:3, :3] = turn @ tilt
    pose[:3, 3] = position
    return pose


def yaw_pitch(pose: FloatArray) -> tuple[float, float]:
    """Return (yaw, pitch) in radians of a c2w pose without roll."""
    forward = pose[:3, 2]
    return float(np.arctan2(forward[0], forward[2])), float(np.arcsin(np.clip(-forward[1], -1, 1)))


def integrate_poses(
    start: FloatArray, keyboard: FloatArray, mouse: FloatArray, kinematics: Kinematics
) -> FloatArray:
    """Return the poses [F, 4, 4] after each of F actions from a start pose [4, 4].

    keyboard [F, 6] is W, S, A, D and two unused; mouse [F, 2] is (pitch rate, yaw rate). Opposite
    keys cancel, a diagonal keeps the speed; there is no collision and no vertical motion.
    """
    position = start[:3, 3].astype(np.float64).copy()
    yaw, pitch = yaw_pitch(start)
    turn = np.radians(kinematics.turn_degrees_per_unit)
    poses = np.empty((len(keyboard), 4, 4))
    for index, (keys, (pitch_rate, yaw_rate)) in enumerate(zip(keyboard, mouse, strict=True)):
        new_yaw = yaw + turn * yaw_rate
        pitch = float(np.clip(pitch + turn * pitch_rate, -np.pi / 2, np.pi / 2))
        mean_yaw = (yaw + new_yaw) / 2
        forward, right = keys[0] - keys[1], keys[3] - keys[2]
        norm = max(1.0, float(np.hypot(forward, right)))
        step = kinematics.speed_metres / norm
        position[0] += step * (forward * np.sin(mean_yaw) + right * np.cos(mean_yaw))
        position[2] += step * (forward * np.cos(mean_yaw) - right * np.sin(mean_yaw))
        yaw = new_yaw
        poses[index] = pose_matrix(position, yaw, pitch)
    return poses


def relative_to(anchor: FloatArray, poses: FloatArray) -> FloatArray:
    """Return poses [..., 4, 4] in the frame of the anchor camera [..., 4, 4] (rigid inverse)."""
    rotation = np.swapaxes(anchor[..., :3, :3], -1, -2)
    inverse = np.zeros(anchor.shape)
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3] = -np.einsum("...ij,...j->...i", rotation, anchor[..., :3, 3])
    inverse[..., 3, 3] = 1
    return np.asarray(inverse @ poses, dtype=np.float64)


def ray_grid(intrinsics: Intrinsics, height: int, width: int, rows: int, cols: int) -> FloatArray:
    """Return unit ray directions [rows, cols, 3] in the camera frame, at the cells' centres."""
    x = (np.arange(cols) + 0.5) * width / cols
    y = (np.arange(rows) + 0.5) * height / rows
    grid_y, grid_x = np.meshgrid(y, x, indexing="ij")
    rays = np.stack(
        [
            (grid_x - intrinsics.cx) / intrinsics.fx,
            (grid_y - intrinsics.cy) / intrinsics.fy,
            np.ones_like(grid_x),
        ],
        axis=-1,
    )
    return np.asarray(rays / np.linalg.norm(rays, axis=-1, keepdims=True), dtype=np.float64)


def world_rays(poses: FloatArray, rays: FloatArray) -> FloatArray:
    """Return (origin, direction) maps [..., rows, cols, 6] of camera rays seen from poses.

    Origin and unit direction, not the o x d moment, as Matrix-Game 3.0 feeds its injectors.
    """
    directions = np.einsum("...ij,hwj->...hwi", poses[..., :3, :3], rays)
    origins = np.broadcast_to(poses[..., None, None, :3, 3], directions.shape)
    return np.concatenate([origins, directions], axis=-1)


def rotation_angle(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the angle in radians between the rotations of two pose arrays [..., 4, 4]."""
    product = np.swapaxes(first[..., :3, :3], -1, -2) @ second[..., :3, :3]
    cosine = (np.trace(product, axis1=-2, axis2=-1) - 1) / 2
    return np.asarray(np.arccos(np.clip(cosine, -1, 1)), dtype=np.float64)
