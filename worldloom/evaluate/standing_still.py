"""What becomes of a view while nobody moves: it should stay as it is.

Over the frames in which the camera stands: how far the last ones are from the first one that
stands (decibels of PSNR, and the sharpness left of it), and how much changes from frame to frame
(mean 8-bit levels). A model that repeats a frame is perfect here, so read it beside obedience. It
does not know when a camera stands.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from pydantic import Field

from worldloom.arrays import BoolArray
from worldloom.config import Config
from worldloom.evaluate.video_quality import Frames, psnr_db, sharpness_ratio

LAST_FRAMES = 12


class StandingStill(Config):
    """How a view held out while the camera stood."""

    num_frames: int = Field(ge=2, description="frames of the longest stand")
    kept_psnr_db: float = Field(
        description="mean PSNR of its last frames against its first, decibels"
    )
    kept_sharpness: float = Field(
        ge=0, description="high-frequency energy of its last frames over its first's"
    )
    flicker_levels: float = Field(
        ge=0, description="mean absolute change from frame to frame, 8-bit levels"
    )


def standing_still(
    frames: Frames, is_static: Bool[BoolArray, " F"], *, least_frames: int = 2 * LAST_FRAMES
) -> StandingStill | None:
    """Return the figures of the longest stand, None when it is shorter than `least_frames`."""
    start, stop = _longest_run(is_static)
    if stop - start < least_frames:
        return None
    stand = frames[start - 1 : stop]  # the frame before has the same pose
    last = stand[-LAST_FRAMES:]
    first = np.broadcast_to(stand[0], last.shape)
    changes = np.abs(np.diff(stand.astype(np.int16), axis=0))
    return StandingStill(
        num_frames=len(stand),
        kept_psnr_db=float(psnr_db(last, first).mean()),
        kept_sharpness=sharpness_ratio(last, first),
        flicker_levels=float(changes.mean()),
    )


def _longest_run(flags: Bool[BoolArray, " F"]) -> tuple[int, int]:
    """Return (start, stop) of the longest run of true flags, the first of equals."""
    padded = np.concatenate([[False], flags, [False]]).astype(np.int8)
    starts = np.flatnonzero(np.diff(padded) == 1)
    stops = np.flatnonzero(np.diff(padded) == -1)
    if not len(starts):
        return 0, 0
    longest = int((stops - starts).argmax())
    return int(starts[longest]), int(stops[longest])
