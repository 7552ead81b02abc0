"""The pictures of an evaluation: traces of the turn, the film, the contact sheet.

It does not know what is good enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from worldloom.camera import yaw_pitch
from worldloom.data.schema import Clip
from worldloom.evaluate.config import TurningConfig
from worldloom.evaluate.controllability import YawEstimator
from worldloom.evaluate.film import contact_sheet, side_by_side, write_mp4, write_png
from worldloom.evaluate.report import CONTACT_SHEET_FILE, FILM_FILE, ControlTrace
from worldloom.evaluate.suite import Rollout
from worldloom.evaluate.video_quality import Frames

TRACE_STRIDE = 2
SIDE_KEYS = slice(2, 4)


def first_of_each_source(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Return the first rollout of every source."""
    found: dict[str, Rollout] = {}
    for rollout in rollouts:
        found.setdefault(rollout.clip.source, rollout)
    return list(found.values())


def trace_turn(clip: Clip, frames: Frames, config: TurningConfig) -> ControlTrace:
    """Return the turn asked and seen at every second of the frames made for a clip.

    Pairs across which the player sidesteps are left out: two images alone cannot tell a slide
    along a wall from a turn.
    """
    gap = config.frame_gap
    slides = clip.keyboard[:, SIDE_KEYS].any(axis=1)
    every = range(0, len(frames) - gap, TRACE_STRIDE)
    kept = [first for first in every if not slides[first + 1 : first + gap + 1].any()]
    firsts = np.array(kept, dtype=np.int64)
    yaws = np.unwrap([yaw_pitch(pose)[0] for pose in clip.poses_c2w.astype(np.float64)])
    estimator = YawEstimator(
        config.estimator,
        intrinsics=clip.intrinsics,
        height=frames.shape[1],
        width=frames.shape[2],
    )
    model, truth = (
        estimator.yaw_degrees(film[firsts], film[firsts + gap]) / gap
        for film in (frames, clip.frames)
    )
    asked = np.degrees(yaws[firsts + gap] - yaws[firsts]) / gap
    return ControlTrace(
        clip_id=clip.clip_id,
        frames=tuple(firsts.tolist()),
        asked=tuple(asked.round(4).tolist()),
        model=tuple(model.round(4).tolist()),
        ground_truth=tuple(truth.round(4).tolist()),
    )


def write_film(folder: Path, rollouts: Sequence[Rollout]) -> None:
    """Write the side-by-side film of some rollouts, one after the other."""
    films = [side_by_side((r.frames, r.truth), ("model", "recording")) for r in rollouts]
    write_mp4(folder / FILM_FILE, np.concatenate(films))


def write_contact_sheet(folder: Path, rollouts: Sequence[Rollout]) -> None:
    """Write one picture of every rollout above its recording."""
    rows = []
    for rollout in rollouts:
        rows += [(f"{rollout.clip.clip_id}: model", rollout.frames), ("recording", rollout.truth)]
    write_png(folder / CONTACT_SHEET_FILE, contact_sheet(rows))
