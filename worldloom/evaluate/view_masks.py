"""Which pixels show a place that was seen before, one that is new, and one that never left.

Geometry alone decides. A pixel is a surface point, from the frame's depth; an earlier camera saw
the point if it lies inside that camera's image and no surface hides it there. From when it was
last seen follows what the pixel is at frame f:

    novel      no earlier frame saw it: only a guess can fill it
    revisited  seen at least `window_frames` ago, and not since: only memory can know it
    recent     seen within the window: the past that a model always sees holds it

Beside these three, a pixel is fresh when neither the start frame nor a frame as old as the window
saw it: all that was ever seen of it, if anything, the model has made up itself just now. What is
novel is a strip of a few pixels, since a frame later it is recent; what is fresh has area.

And a frame is static where the camera did not move from the frame before. Depth is needed at every
frame, so these masks exist for the procedural world; frames of other worlds are told apart by
poses (`memory_consistency`). It does not know who generates frames.

Letters: F frames, H W pixels, h w cells, P points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field

from worldloom.arrays import BoolArray, FloatArray, IntArray
from worldloom.camera import Intrinsics, rotation_angle
from worldloom.config import Config

Depths = Float[FloatArray, "F H W"]
Poses = Float[FloatArray, "F 4 4"]
Mask = Bool[BoolArray, "F H W"]

_NEVER = -1
_STILL_METRES = 1e-4
_STILL_RADIANS = 1e-4


class ViewMaskConfig(Config):
    """When a place counts as seen."""

    window_frames: int = Field(24, ge=1, description="age from which a sight is old, frames")
    cell_pixels: int = Field(4, ge=1, description="side of the cells that are judged, pixels")
    depth_tolerance: float = Field(
        0.1, gt=0, description="how much nearer a surface may be before it hides, share of depth"
    )


@dataclass(frozen=True)
class ViewMasks:
    """What every pixel of a walk is; those of frames 1 on are one of the first three."""

    novel: Mask
    revisited: Mask
    recent: Mask
    fresh: Mask


def view_masks(
    depths: Depths, poses_c2w: Poses, intrinsics: Intrinsics, config: ViewMaskConfig
) -> ViewMasks:
    """Return the masks of a walk; frame 0 is recent everywhere, since it is given, and not fresh.

    Args:
        depths: along the optical axis, metres.
        poses_c2w: camera to world.
        intrinsics: of the frames.
        config: when a place counts as seen.

    Raises:
        ValueError: when the cells do not divide the frame.
    """
    count, height, width = depths.shape
    cell = config.cell_pixels
    if height % cell or width % cell:
        message = f"cell_pixels={cell}: expected a divisor of frames of {height} x {width}"
        raise ValueError(message)
    rows, cols = (np.arange(cell // 2, size, cell, dtype=np.int64) for size in (height, width))
    last_seen = np.full((count, len(rows), len(cols)), _NEVER)
    last_seen[0] = 0
    is_fresh = np.zeros(last_seen.shape, bool)
    for frame in range(1, count):
        points = _surface(depths[frame], poses_c2w[frame], intrinsics, rows, cols)
        sees = _sees(points, depths[:frame], poses_c2w[:frame], intrinsics, config)
        newest = frame - 1 - np.argmax(sees[::-1], axis=0)
        old = max(1, frame - config.window_frames + 1)
        is_fresh[frame] = ~sees[:old].any(axis=0).reshape(last_seen[0].shape)
        last_seen[frame] = np.where(sees.any(axis=0), newest, _NEVER).reshape(last_seen[0].shape)
    age = np.arange(count)[:, None, None] - last_seen
    is_seen = last_seen != _NEVER
    is_recent = is_seen & (age < config.window_frames)
    masks = (~is_seen, is_seen & ~is_recent, is_recent, is_fresh)
    return ViewMasks(*(mask.repeat(cell, axis=1).repeat(cell, axis=2) for mask in masks))


def static_frames(poses_c2w: Poses) -> Bool[BoolArray, " F"]:
    """Return which frames have the pose of the frame before; the first has none before it."""
    moved = np.linalg.norm(np.diff(poses_c2w[:, :3, 3], axis=0), axis=1)
    turned = rotation_angle(poses_c2w[:-1], poses_c2w[1:])
    still = (moved < _STILL_METRES) & (turned < _STILL_RADIANS)
    return np.concatenate([[False], still])


def _surface(
    depth: Float[FloatArray, "H W"],
    pose: Float[FloatArray, "4 4"],
    intrinsics: Intrinsics,
    rows: Int[IntArray, " h"],
    cols: Int[IntArray, " w"],
) -> Float[FloatArray, "P 3"]:
    """Return the world points that the cells' middle pixels show."""
    v, u = np.meshgrid(rows, cols, indexing="ij")
    z = depth[v, u]
    x = (u + 0.5 - intrinsics.cx) / intrinsics.fx * z
    y = (v + 0.5 - intrinsics.cy) / intrinsics.fy * z
    camera = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    return np.asarray(camera @ pose[:3, :3].T + pose[:3, 3])


def _sees(
    points: Float[FloatArray, "P 3"],
    depths: Depths,
    poses_c2w: Poses,
    intrinsics: Intrinsics,
    config: ViewMaskConfig,
) -> Bool[BoolArray, "F P"]:
    """Return which cameras see which points: inside the image, and nothing nearer in the way."""
    rotation, centre = poses_c2w[:, :3, :3], poses_c2w[:, :3, 3]
    camera = np.einsum("fpj,fji->fpi", points[None] - centre[:, None], rotation)
    z = camera[..., 2]
    in_front = z > 1e-3
    safe = np.where(in_front, z, 1.0)
    height, width = depths.shape[1:]
    u = np.floor(camera[..., 0] / safe * intrinsics.fx + intrinsics.cx)
    v = np.floor(camera[..., 1] / safe * intrinsics.fy + intrinsics.cy)
    inside = in_front & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    column = np.clip(u, 0, width - 1).astype(np.int64)
    row = np.clip(v, 0, height - 1).astype(np.int64)
    surface = depths[np.arange(len(depths))[:, None], row, column]
    return np.asarray(inside & (z <= surface * (1 + config.depth_tolerance)))
