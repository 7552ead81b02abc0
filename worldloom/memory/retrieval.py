"""Which past latents a segment sees: greedy cover of what it is going to look at.

Points are sampled in the frusta of the poses to be generated; a candidate is worth the points
that it sees and that no chosen one sees yet. Ties go to the nearer pose, then to the later latent,
and nothing is chosen twice. Latent 0, the start image, is the sink and always among them.
(The published system takes the best latent for each of five query frames, oldest on ties, with
duplicates: Matrix-Game 3.0's code.) Occlusion is ignored. It does not know latents' content.

Letters: Q query poses, L candidate poses, K points of a frustum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from worldloom.camera import Intrinsics
from worldloom.config import Config

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

SINK_INDEX = 0


class RetrievalConfig(Config):
    """How a frustum is sampled and how candidates compare."""

    near_metres: float = Field(0.3, gt=0, description="nearest depth that counts, metres")
    far_metres: float = Field(10.0, gt=0, description="farthest depth that counts, metres")
    depths: int = Field(4, ge=1, description="sample depths of a frustum")
    rows: int = Field(2, ge=1, description="sample rows of a frustum")
    cols: int = Field(6, ge=1, description="sample columns of a frustum")
    distance_weight: float = Field(
        0.02, ge=0, description="cover given up for a metre or a radian nearer, share of points"
    )


def frustum_points(config: RetrievalConfig, intrinsics: Intrinsics) -> FloatArray:
    """Return the sample points [K, 3] of a camera's frustum in its own frame, metres."""
    depths = np.geomspace(max(config.near_metres, 1.0), config.far_metres, config.depths)
    rows = (np.arange(config.rows) + 0.5) / config.rows * 2 * intrinsics.cy
    cols = (np.arange(config.cols) + 0.5) / config.cols * 2 * intrinsics.cx
    z, y, x = np.meshgrid(depths, rows, cols, indexing="ij")
    points = np.stack(
        [(x - intrinsics.cx) / intrinsics.fx * z, (y - intrinsics.cy) / intrinsics.fy * z, z], -1
    )
    return np.asarray(points.reshape(-1, 3), dtype=np.float64)


def visibility(
    query_poses: FloatArray,
    candidate_poses: FloatArray,
    config: RetrievalConfig,
    intrinsics: Intrinsics,
) -> BoolArray:
    """Return whether candidate l sees point k of query q's frustum: [Q, K, L]."""
    points = frustum_points(config, intrinsics)
    world = np.einsum("qij,kj->qki", query_poses[:, :3, :3], points) + query_poses[:, None, :3, 3]
    rotation = candidate_poses[:, :3, :3]
    centre = np.einsum("lij,li->lj", rotation, candidate_poses[:, :3, 3])
    seen = np.einsum("qki,lij->qklj", world, rotation) - centre
    x, y, z = seen[..., 0], seen[..., 1], seen[..., 2]
    ahead = (z > config.near_metres) & (z < 1.5 * config.far_metres)
    inside_x = np.abs(x * intrinsics.fx) <= np.maximum(z, 0) * intrinsics.cx
    inside_y = np.abs(y * intrinsics.fy) <= np.maximum(z, 0) * intrinsics.cy
    return np.asarray(ahead & inside_x & inside_y)


def pose_distance(query_poses: FloatArray, candidate_poses: FloatArray) -> FloatArray:
    """Return metres plus radians between each candidate and its nearest query: [L]."""
    offset = query_poses[:, None, :3, 3] - candidate_poses[None, :, :3, 3]
    forward = query_poses[:, None, :3, 2] * candidate_poses[None, :, :3, 2]
    angle = np.arccos(np.clip(forward.sum(-1), -1, 1))
    return np.asarray((np.linalg.norm(offset, axis=-1) + angle).min(axis=0))


def retrieve(
    query_poses: FloatArray,
    candidate_poses: FloatArray,
    num_memory_latents: int,
    config: RetrievalConfig,
    intrinsics: Intrinsics,
) -> list[int]:
    """Return at most `num_memory_latents` candidate indices, the sink first, none twice."""
    seen = visibility(query_poses, candidate_poses, config, intrinsics)
    distance = pose_distance(query_poses, candidate_poses)
    return greedy_cover(seen, distance, num_memory_latents, config.distance_weight)


def greedy_cover(
    seen: BoolArray, distance: FloatArray, num_memory_latents: int, distance_weight: float
) -> list[int]:
    """Choose candidates one after another by what each adds to the cover."""
    num_candidates = seen.shape[-1]
    if not num_candidates or not num_memory_latents:
        return []
    open_points = seen.reshape(-1, num_candidates).copy()
    later_is_better = 1e-6 * np.arange(num_candidates)
    chosen = [SINK_INDEX]
    open_points[open_points[:, SINK_INDEX]] = False
    while len(chosen) < min(num_memory_latents, num_candidates):
        worth = open_points.mean(axis=0) - distance_weight * distance + later_is_better
        worth[chosen] = -np.inf
        best = int(worth.argmax())
        chosen.append(best)
        open_points[open_points[:, best]] = False
    return chosen
