"""Memory retrieval as Matrix-Game 3.0's code does it, for parity and for comparison.

Five frames of the coming segment each take the past frame that sees most of their frustum's 1,000
points: the oldest on ties, the same one several times if it is best for several. The last slot is
then given to frame 4, whose latent is the sink. Occlusion is ignored. It knows frames and poses;
it does not know latents' content.

Letters: F pixel frames, S memory slots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from worldloom.arrays import FloatArray, IntArray
from worldloom.frames import latent_of_frame
from worldloom.memory.frustum import REFERENCE_FRUSTUM, placed, reference_points

QUERY_OFFSETS = (1, 9, 17, 25, 33)
SINK_FRAME = 4


@dataclass(frozen=True)
class MemorySlot:
    """One memory latent, with the frame whose view it was taken for.

    Attributes:
        latent_index: the past latent.
        query_frame: the coming frame; the latent's pose is injected relative to this one's.
    """

    latent_index: int
    query_frame: int


def query_frames(end_frame: int) -> list[int]:
    """Return the frames that are asked for, of a window that ends before `end_frame`."""
    return [end_frame - offset for offset in QUERY_OFFSETS]


def reference_scores(
    query_poses: Float[FloatArray, "S 4 4"], candidate_poses: Float[FloatArray, "F 4 4"]
) -> Float[FloatArray, "S F"]:
    """Return the share of each query's 1,000 frustum points that each candidate sees."""
    points = placed(reference_points(), query_poses)
    return np.stack(
        [REFERENCE_FRUSTUM.contains(own, candidate_poses).mean(axis=0) for own in points]
    )


def best_frames(
    frame_poses: Float[FloatArray, "F 4 4"], start_frame: int, queries: list[int]
) -> Int[IntArray, " S"]:
    """Return each query's best frame of 1 .. start_frame - 1, the oldest on ties."""
    scores = reference_scores(frame_poses[queries], frame_poses[1:start_frame])
    return np.asarray(1 + scores.argmax(axis=1))


def retrieve_reference(
    frame_poses: Float[FloatArray, "F 4 4"], start_frame: int, end_frame: int
) -> list[MemorySlot]:
    """Return the five memory slots of the window of frames start_frame .. end_frame - 1.

    Args:
        frame_poses: c2w of every frame from 0 to the window's last, metres.
        start_frame: the window's first frame; past frames of the window are no candidates.
        end_frame: one past the window's last frame.

    Raises:
        ValueError: for a window without enough frames before or in it.
    """
    if not SINK_FRAME < start_frame <= end_frame - max(QUERY_OFFSETS) or end_frame > len(
        frame_poses
    ):
        message = (
            f"window {start_frame} .. {end_frame} of {len(frame_poses)} poses: expected a start"
            f" after frame {SINK_FRAME}, at least {max(QUERY_OFFSETS)} frames, and a pose for each"
        )
        raise ValueError(message)
    queries = query_frames(end_frame)
    frames = best_frames(frame_poses, start_frame, queries).tolist()
    frames[-1] = SINK_FRAME
    return [
        MemorySlot(latent_index=latent_of_frame(frame), query_frame=query)
        for frame, query in zip(frames, queries, strict=True)
    ]
