"""Camera geometry: c2w poses, intrinsics, the pose integrator, rays. The only place that knows c2w.

World axes: x right, y down, z forward at yaw 0; metres and radians. A pose is a 4x4
camera-to-world matrix whose camera looks along +z with x right and y down. Positive yaw turns the
view to the right, positive pitch looks up. Kinematics after Matrix-Game 3.0 (research code):
one step a frame, displacement along the mean of the old and the new yaw. What its network is told
of the camera is here too: poses relative to their neighbours, and rays (section "Reference").
It does not know pixels' content, actions' files or any model.

Letters: F pixel frames, T latent frames, K pixels of a latent cell.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Real
from pydantic import Field

from worldloom.arrays import BoolArray, FloatArray, SingleArray
from worldloom.config import Config
from worldloom.errors import DataError

Pose = Float[FloatArray, "4 4"]
Poses = Float[FloatArray, "*batch 4 4"]
Directions = Float[FloatArray, "rows cols 3"]
Unchecked = Float[SingleArray | FloatArray, "..."]

RIGID_TOLERANCE = 1e-3
# Below this a camera stands: what is left is rounding, which must not be scaled to unit length.
STILL_METRES = 1e-6


class Kinematics(Config):
    """How a frame's action moves the camera."""

    turn_degrees_per_unit: float = Field(15.0, gt=0, description="degrees a frame per mouse unit")
    speed_metres: float = Field(0.25, ge=0, description="metres a frame with one key held")
    mouse_dead_zone: float = Field(
        0.0, ge=0, description="mouse units below which an axis does not turn the camera"
    )
    is_pitch_inverted: bool = Field(
        False, description="a positive pitch rate lowers the view instead of raising it"
    )


REFERENCE_KINEMATICS = Kinematics(
    turn_degrees_per_unit=15.0,
    speed_metres=0.1235,
    mouse_dead_zone=0.02,
    # The published integrator adds the rate to a pitch whose matrix looks down, and its keys call
    # that up; public weights have learnt these rays, so their camera must be told the same.
    is_pitch_inverted=True,
)


class Intrinsics(Config):
    """Pinhole intrinsics in pixels of a (height, width) image."""

    fx: float = Field(gt=0, description="focal length along x, pixels")
    fy: float = Field(gt=0, description="focal length along y, pixels")
    cx: float = Field(description="principal point x, pixels")
    cy: float = Field(description="principal point y, pixels")

    @classmethod
    def from_fov(
        cls,
        height: int,
        width: int,
        horizontal_fov_degrees: float = 90.0,
        vertical_fov_degrees: float | None = None,
    ) -> Intrinsics:
        """Return intrinsics for a field of view; pixels are square unless a vertical one is given.

        The reference's camera sees 90 degrees both ways, whatever the image's aspect.
        """
        fx = width / 2 / float(np.tan(np.radians(horizontal_fov_degrees) / 2))
        fy = fx
        if vertical_fov_degrees is not None:
            fy = height / 2 / float(np.tan(np.radians(vertical_fov_degrees) / 2))
        return cls(fx=fx, fy=fy, cx=width / 2, cy=height / 2)

    @classmethod
    def reference(cls, height: int, width: int) -> Intrinsics:
        """Return the reference's intrinsics: 90 degrees both ways."""
        return cls.from_fov(height, width, 90.0, 90.0)


def require_rigid(poses: Unchecked, *, name: str = "poses") -> None:
    """Check that an array is poses [F, 4, 4]: a rotation, a translation, nothing else.

    Args:
        poses: c2w matrices from outside, float32 or float64.
        name: What to call the array.

    Raises:
        DataError: naming the array, the first bad frame, the value, and what was expected.
    """
    if poses.ndim != 3 or poses.shape[1:] != (4, 4) or not len(poses):
        message = f"{name} has shape {list(poses.shape)}, expected [frames, 4, 4]"
        raise DataError(message)
    values = poses.astype(np.float64)
    _require_frames(
        name, np.isfinite(values).all((1, 2)), values.sum((1, 2)), "holds {:g}, expected numbers"
    )
    rotation = values[:, :3, :3]
    off_row = np.abs(values[:, 3] - [0, 0, 0, 1]).max(-1)
    off_rotation = np.abs(rotation @ rotation.swapaxes(1, 2) - np.eye(3)).max((1, 2))
    determinant = np.linalg.det(rotation)
    for is_good, found, words in (
        (off_row <= RIGID_TOLERANCE, off_row, "has a last row off by {:.3g}, expected 0 0 0 1"),
        (
            off_rotation <= RIGID_TOLERANCE,
            off_rotation,
            f"is not rigid: rotation off by {{:.3g}}, expected at most {RIGID_TOLERANCE:g}",
        ),
        (determinant > 0, determinant, "mirrors: determinant {:.3g}, expected 1"),
    ):
        _require_frames(name, is_good, found, words)


def pose_matrix(position: Real[FloatArray, " 3"], yaw: float, pitch: float) -> Pose:
    """Return the c2w matrix of a camera at `position` [3] with yaw (right) and pitch (up)."""
    cos_yaw, sin_yaw, cos_pitch, sin_pitch = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    turn = np.array([[cos_yaw, 0, sin_yaw], [0, 1, 0], [-sin_yaw, 0, cos_yaw]])
    tilt = np.array([[1, 0, 0], [0, cos_pitch, -sin_pitch], [0, sin_pitch, cos_pitch]])
    pose = np.eye(4)
    pose[:3, :3] = turn @ tilt
    pose[:3, 3] = position
    return pose


def yaw_pitch(pose: Pose) -> tuple[float, float]:
    """Return (yaw, pitch) in radians of a c2w pose without roll."""
    forward = pose[:3, 2]
    return float(np.arctan2(forward[0], forward[2])), float(np.arcsin(np.clip(-forward[1], -1, 1)))


def integrate_poses(
    start: Pose,
    keyboard: Float[FloatArray, "F 6"],
    mouse: Float[FloatArray, "F 2"],
    kinematics: Kinematics,
) -> Float[FloatArray, "F 4 4"]:
    """Return the poses [F, 4, 4] after each of F actions from a start pose [4, 4].

    keyboard [F, 6] is W, S, A, D and two unused; mouse [F, 2] is (pitch rate, yaw rate). Opposite
    keys cancel, a diagonal keeps the speed; there is no collision and no vertical motion.
    """
    position = start[:3, 3].astype(np.float64).copy()
    yaw, pitch = yaw_pitch(start)
    turn = np.radians(kinematics.turn_degrees_per_unit)
    rates = np.where(np.abs(mouse) >= kinematics.mouse_dead_zone, mouse, 0.0)
    if kinematics.is_pitch_inverted:
        rates = rates * [-1.0, 1.0]
    poses = np.empty((len(keyboard), 4, 4))
    for index, (keys, (pitch_rate, yaw_rate)) in enumerate(zip(keyboard, rates, strict=True)):
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


def relative_to(
    anchor: Float[FloatArray, "*anchor 4 4"], poses: Poses
) -> Float[FloatArray, "... 4 4"]:
    """Return poses [..., 4, 4] in the frame of the anchor camera [..., 4, 4] (rigid inverse)."""
    rotation = np.swapaxes(anchor[..., :3, :3], -1, -2)
    inverse = np.zeros(anchor.shape)
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3] = -np.einsum("...ij,...j->...i", rotation, anchor[..., :3, 3])
    inverse[..., 3, 3] = 1
    return np.asarray(inverse @ poses, dtype=np.float64)


def ray_grid(intrinsics: Intrinsics, height: int, width: int, rows: int, cols: int) -> Directions:
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


def world_rays(poses: Poses, rays: Directions) -> Float[FloatArray, "*batch rows cols 6"]:
    """Return (origin, direction) maps [..., rows, cols, 6] of camera rays seen from poses.

    Origin and unit direction, not the o x d moment, as Matrix-Game 3.0 feeds its injectors.
    """
    directions = np.einsum("...ij,hwj->...hwi", poses[..., :3, :3], rays)
    origins = np.broadcast_to(poses[..., None, None, :3, 3], directions.shape)
    return np.concatenate([origins, directions], axis=-1)


def rotation_angle(
    first: Float[FloatArray, "*first 4 4"], second: Poses
) -> Float[FloatArray, "*_"]:
    """Return the angle in radians between the rotations of two pose arrays [..., 4, 4]."""
    product = np.swapaxes(first[..., :3, :3], -1, -2) @ second[..., :3, :3]
    cosine = (np.trace(product, axis1=-2, axis2=-1) - 1) / 2
    return np.asarray(np.arccos(np.clip(cosine, -1, 1)), dtype=np.float64)


# Reference


def framewise_relative(poses: Float[FloatArray, "T 4 4"]) -> Float[FloatArray, "T 4 4"]:
    """Return a window's poses, each in the frame of the one before it; the first is the identity.

    Translations are divided by the longest of the window, as the reference does; a window that
    stands still keeps its zeros.
    """
    relative: FloatArray = np.concatenate([np.eye(4)[None], relative_to(poses[:-1], poses[1:])])
    longest = float(np.linalg.norm(relative[:, :3, 3], axis=-1).max())
    relative[:, :3, 3] *= 0.0 if longest < STILL_METRES else 1 / longest
    return relative


def memory_relative(query: Poses, memory: Poses) -> Poses:
    """Return memory poses, each in the frame of its query's camera, translations of unit length.

    The reference normalises over this pair alone, so the distance to a memory view is lost; a
    memory at the query's place keeps its zeros.
    """
    relative = relative_to(query, memory)
    norm = np.linalg.norm(relative[..., :3, 3], axis=-1, keepdims=True)
    is_still = norm < STILL_METRES
    relative[..., :3, 3] = np.where(
        is_still, 0.0, relative[..., :3, 3] / np.where(is_still, 1, norm)
    )
    return relative


def ray_cells(
    intrinsics: Intrinsics, height: int, width: int, rows: int, cols: int
) -> Float[FloatArray, "3 K rows cols"]:
    """Return every pixel's unit ray in the camera's frame, moved from space to depth.

    The K = (height / rows) (width / cols) pixels of a latent cell lie row by row in dimension K.

    Raises:
        ValueError: for an image that does not divide into the cells.
    """
    if height % rows or width % cols:
        message = f"image of {height} x {width}: expected multiples of {rows} x {cols} cells"
        raise ValueError(message)
    rays = ray_grid(intrinsics, height, width, height, width)
    cells = rays.reshape(rows, height // rows, cols, width // cols, 3).transpose(4, 1, 3, 0, 2)
    return np.ascontiguousarray(cells.reshape(3, -1, rows, cols))


def cell_ray_maps(
    poses: Float[FloatArray, "T 4 4"], cells: Float[FloatArray, "3 K rows cols"]
) -> Float[SingleArray, "T channels rows cols"]:
    """Return what the reference's camera injectors read: [T, 6 K, rows, cols].

    Channels are ray origin (3) then unit direction (3), slowest; then the pixels of a cell, row by
    row. With cells of 16 x 16 that is 1536 channels on the latent grid.
    """
    num_pixels, rows, cols = cells.shape[1:]
    maps = np.empty((len(poses), 6, num_pixels, rows, cols), np.float32)
    maps[:, :3] = poses[:, :3, 3][..., None, None, None]
    for index, pose in enumerate(poses):  # frame by frame: one is 22 MB at 704 x 1280
        maps[index, 3:] = np.einsum("ij,jkhw->ikhw", pose[:3, :3], cells)
    return maps.reshape(len(poses), -1, rows, cols)


def _require_frames(name: str, is_good: BoolArray, found: FloatArray, words: str) -> None:
    """Refuse the first frame that is not good, with what was found in it."""
    if not is_good.all():
        frame = int(np.argmin(is_good))
        message = f"{name} at frame {frame} {words.format(found[frame])}"
        raise DataError(message)
