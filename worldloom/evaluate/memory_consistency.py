"""Whether a place looks the same when the camera comes back to it.

A frame is a revisit when some earlier frame, at least `window_frames` older, was seen from nearly
the same pose: then only memory, not the recent past, can know what stands there. Two figures over
those frames: PSNR against the recorded frame, and PSNR against what the model itself showed at
the earlier visit. It does not know how the model remembers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worldloom.arrays import BoolArray, FloatArray, SingleArray
from worldloom.camera import rotation_angle
from worldloom.evaluate.config import RevisitConfig
from worldloom.evaluate.video_quality import Frames, psnr_db

Poses = SingleArray | FloatArray
_MOST_OF_A_WINDOW = 0.5


@dataclass(frozen=True)
class Revisit:
    """A frame and the earlier frame of nearly the same pose."""

    frame_index: int
    earlier_index: int


def find_revisits(poses_c2w: Poses, config: RevisitConfig) -> list[Revisit]:
    """Return every frame whose pose was seen at least a window ago, with the nearest such frame.

    A frame counts only if the camera had left: it looked elsewhere for at least half of the last
    window. Standing still is no revisit.
    """
    poses = poses_c2w.astype(np.float64)
    found = []
    for index in range(config.window_frames, len(poses)):
        is_near = _near(poses[:index], poses[index], config)
        recent = is_near[index - config.window_frames + 1 :]
        old = np.flatnonzero(is_near[: index - config.window_frames + 1])
        if not len(old) or recent.mean() > _MOST_OF_A_WINDOW:
            continue
        gaps = np.linalg.norm(poses[old, :3, 3] - poses[index, :3, 3], axis=-1)
        gaps += rotation_angle(poses[old], poses[index])
        found.append(Revisit(frame_index=index, earlier_index=int(old[gaps.argmin()])))
    return found


def revisit_psnr_db(frames: Frames, reference: Frames, revisits: list[Revisit]) -> float | None:
    """Return the mean PSNR against the recording over revisit frames, None without any."""
    if not revisits:
        return None
    chosen = [revisit.frame_index for revisit in revisits]
    return float(psnr_db(frames[chosen], reference[chosen]).mean())


def self_consistency_psnr_db(frames: Frames, revisits: list[Revisit]) -> float | None:
    """Return the mean PSNR between a revisit frame and the model's own earlier frame there."""
    if not revisits:
        return None
    now = [revisit.frame_index for revisit in revisits]
    then = [revisit.earlier_index for revisit in revisits]
    return float(psnr_db(frames[now], frames[then]).mean())


def _near(poses: FloatArray, pose: FloatArray, config: RevisitConfig) -> BoolArray:
    distance = np.linalg.norm(poses[:, :3, 3] - pose[:3, 3], axis=-1)
    angle = np.degrees(rotation_angle(poses, pose))
    return np.asarray((distance <= config.distance_metres) & (angle <= config.angle_degrees))
