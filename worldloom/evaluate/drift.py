"""How quality moves from segment to segment of a rollout.

The drift slope is the least-squares slope of a per-segment value over the segment index: decibels
a segment for PSNR, so a negative slope is decay. What a walk shows also changes from segment to
segment, so slopes are compared between arms on the same walks. It does not know how segments are
generated.
"""

from __future__ import annotations

import numpy as np

from worldloom.arrays import FloatArray


def segment_means(values: FloatArray, frames_per_segment: int) -> list[float]:
    """Return the mean of per-frame values over each whole segment."""
    if frames_per_segment < 1 or len(values) % frames_per_segment:
        message = (
            f"{len(values)} frames: expected a multiple of frames_per_segment={frames_per_segment}"
        )
        raise ValueError(message)
    return [float(part.mean()) for part in values.reshape(-1, frames_per_segment)]


def drift_slope(segment_values: list[float]) -> float | None:
    """Return the least-squares slope per segment, None for fewer than two segments."""
    if len(segment_values) < 2:
        return None
    index = np.arange(len(segment_values), dtype=np.float64)
    index -= index.mean()
    values = np.asarray(segment_values, dtype=np.float64)
    return float((index @ (values - values.mean())) / (index @ index))


def loss_between(segment_values: list[float], first: int, last: int) -> float | None:
    """Return how much less segment `last` is worth than segment `first`, both counted from 1.

    None when there are not so many segments.
    """
    if not 1 <= first < last:
        message = f"segments {first} to {last}: expected 1 <= first < last"
        raise ValueError(message)
    if last > len(segment_values):
        return None
    return segment_values[first - 1] - segment_values[last - 1]
