"""There and back: a palindrome shows each place twice, once before the turn and once after.

Frame m + k of a walk whose second half undoes the first has the pose of frame m - k. Two figures:
the way back against what was recorded, and against what the model itself had shown on the way out,
which also counts a place that was made up and must now be kept. Both are decibels over pairs at
least `least_gap_frames` apart, because near the turn the recent past alone explains them. A model
that freezes agrees with itself perfectly, so read the second beside the first. It does not know how
the model remembers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from worldloom.arrays import FloatArray
from worldloom.camera import rotation_angle
from worldloom.evaluate.video_quality import Frames, psnr_db

_SAME_METRES = 0.02
_SAME_RADIANS = 0.01


@dataclass(frozen=True)
class MirrorPair:
    """Two frames of one pose on both sides of a turning point."""

    out_index: int
    back_index: int


def mirror_pairs(poses_c2w: Float[FloatArray, "F 4 4"], least_gap_frames: int) -> list[MirrorPair]:
    """Return the pairs of a palindrome, nearest to the turn first; none if it is no palindrome.

    The turn is the middle frame. A pair whose poses differ (a walk that was pushed aside) is left
    out.
    """
    middle = (len(poses_c2w) - 1) // 2
    reach = np.arange(1, min(middle, len(poses_c2w) - 1 - middle) + 1)
    reach = reach[2 * reach >= least_gap_frames]
    out, back = poses_c2w[middle - reach], poses_c2w[middle + reach]
    apart = np.linalg.norm(out[:, :3, 3] - back[:, :3, 3], axis=1)
    is_same = (apart < _SAME_METRES) & (rotation_angle(out, back) < _SAME_RADIANS)
    return [MirrorPair(int(middle - k), int(middle + k)) for k in reach[is_same]]


def mirror_psnr_db(
    frames: Frames, reference: Frames, pairs: list[MirrorPair]
) -> tuple[float, float] | None:
    """Return (way back against the recording, against the model's own way out), None without."""
    if not pairs:
        return None
    out = [pair.out_index for pair in pairs]
    back = [pair.back_index for pair in pairs]
    recorded = psnr_db(frames[back], reference[back])
    own = psnr_db(frames[back], frames[out])
    return float(recorded.mean()), float(own.mean())
