"""Which past latents a segment sees: greedy cover of what it is going to look at.

Points, uniform in volume, are sampled in the frusta of the poses to be generated; a candidate is
worth the points that it sees and that no chosen one sees yet, less a little for each metre and
radian that it stands away. A point that two coming views share counts twice, since it is shown
twice. Ties go to the earlier latent: a later one of the same place was itself made from memory, and
a copy of copies fades. Nothing is chosen twice. Latent 0, the start image, is the sink and always
among them. Occlusion is ignored. These are pure functions of poses, for whole clips; a session asks
`keyframe_index`, which chooses the same. It does not know latents' content.

Letters: Q query poses, L candidate poses, K points of a frustum.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float

from worldloom.arrays import BoolArray, FloatArray
from worldloom.camera import Intrinsics
from worldloom.memory.config import RetrievalConfig
from worldloom.memory.frustum import Frustum, placed

__all__ = [
    "SINK_INDEX",
    "TIE_TOLERANCE",
    "RetrievalConfig",
    "frustum_of",
    "frustum_points",
    "greedy_cover",
    "pose_distance",
    "repeat_limits",
    "repeats",
    "retrieve",
    "visibility",
]


SINK_INDEX = 0
# Worths closer than this are equal: well above rounding, well below one point of a million.
TIE_TOLERANCE = 1e-9
# Metres, and cosines: a pose that stands still is a repeat whatever the tolerance.
_ROUNDING = 1e-9


def frustum_of(config: RetrievalConfig, intrinsics: Intrinsics) -> Frustum:
    """Return the volume that counts as seen by a camera."""
    return Frustum.of_camera(intrinsics, config.near_metres, config.far_metres)


def frustum_points(config: RetrievalConfig, intrinsics: Intrinsics) -> Float[FloatArray, "K 3"]:
    """Return the sample points of a camera's frustum in its own frame, metres."""
    frustum = frustum_of(config, intrinsics)
    return frustum.volume_points(config.depths, config.rows, config.cols)


def visibility(
    query_poses: Float[FloatArray, "Q 4 4"],
    candidate_poses: Float[FloatArray, "L 4 4"],
    config: RetrievalConfig,
    intrinsics: Intrinsics,
) -> Bool[BoolArray, "Q K L"]:
    """Return whether candidate l sees point k of query q's frustum."""
    points = placed(frustum_points(config, intrinsics), query_poses)
    return frustum_of(config, intrinsics).contains(points, candidate_poses)


def pose_distance(
    query_poses: Float[FloatArray, "Q 4 4"], candidate_poses: Float[FloatArray, "L 4 4"]
) -> Float[FloatArray, " L"]:
    """Return metres plus radians between each candidate and its nearest query."""
    offset = query_poses[:, None, :3, 3] - candidate_poses[None, :, :3, 3]
    forward = query_poses[:, None, :3, 2] * candidate_poses[None, :, :3, 2]
    angle = np.arccos(np.clip(forward.sum(-1), -1, 1))
    return np.asarray((np.linalg.norm(offset, axis=-1) + angle).min(axis=0))


def repeat_limits(config: RetrievalConfig) -> tuple[float, float]:
    """Return the most metres, and the least cosine between directions, of two views that repeat."""
    least_cosine = math.cos(math.radians(config.repeat_degrees))
    return config.repeat_metres + _ROUNDING, least_cosine - _ROUNDING


def repeats(poses: Float[FloatArray, "L 4 4"], config: RetrievalConfig) -> Bool[BoolArray, " L"]:
    """Return which latents repeat a much older one that is itself no repeat.

    So a slow turn, or a lap that comes out a little differently each time, is no chain of repeats.
    """
    most_metres, least_cosine = repeat_limits(config)
    offset = poses[:, None, :3, 3] - poses[None, :, :3, 3]
    is_near = np.linalg.norm(offset, axis=-1) <= most_metres
    is_near &= poses[:, :3, 2] @ poses[:, :3, 2].T >= least_cosine
    found = np.zeros(len(poses), bool)
    for latent in range(config.repeat_latents, len(poses)):
        older = slice(latent - config.repeat_latents + 1)
        found[latent] = (is_near[latent, older] & ~found[older]).any()
    return found


def retrieve(
    query_poses: Float[FloatArray, "Q 4 4"],
    candidate_poses: Float[FloatArray, "L 4 4"],
    num_memory_latents: int,
    config: RetrievalConfig,
    intrinsics: Intrinsics,
    *,
    keep_sink: bool = True,
) -> list[int]:
    """Return at most `num_memory_latents` candidate indices, the sink first, none twice."""
    seen = visibility(query_poses, candidate_poses, config, intrinsics)
    distance = pose_distance(query_poses, candidate_poses)
    is_repeat = repeats(candidate_poses, config)
    return greedy_cover(
        seen,
        distance,
        num_memory_latents,
        config.distance_weight,
        keep_sink=keep_sink,
        is_open=~is_repeat,
    )


def greedy_cover(
    seen: Bool[BoolArray, "Q K L"],
    distance: Float[FloatArray, " L"],
    num_memory_latents: int,
    distance_weight: float,
    *,
    keep_sink: bool = True,
    is_open: Bool[BoolArray, " L"] | None = None,
) -> list[int]:
    """Choose candidates one after another by what each adds to the cover.

    Args:
        seen: which candidate sees which point, as `visibility` tells.
        distance: metres plus radians to each candidate.
        num_memory_latents: choices at most.
        distance_weight: cover given up for a metre or a radian nearer, share of all points.
        keep_sink: False lets candidate 0 compete like any other.
        is_open: who may be chosen; None: all.
    """
    is_open = np.ones(seen.shape[-1], bool) if is_open is None else is_open.copy()
    num_choices = min(num_memory_latents, int(is_open.sum()))
    open_points = seen.copy()
    chosen: list[int] = []
    while len(chosen) < num_choices:
        best = SINK_INDEX
        if chosen or not keep_sink:
            worth = open_points.mean(axis=(0, 1)) - distance_weight * distance
            worth[~is_open] = -np.inf
            best = int(np.flatnonzero(worth >= worth.max() - TIE_TOLERANCE)[0])
        chosen.append(best)
        is_open[best] = False
        open_points[open_points[..., best]] = False
    return chosen
