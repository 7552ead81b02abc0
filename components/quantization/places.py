"""The places where a release's sessions can begin: first frames of recorded clips."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worldloom.actions import Actions
from worldloom.camera import Intrinsics, yaw_pitch
from worldloom.data.clips import clip_index, read_clips
from worldloom.data.schema import SOURCES, Clip, Split
from worldloom.errors import DataError


@dataclass(frozen=True)
class Place:
    """A start image with what was recorded from there on."""

    name: str
    prompt: str
    image: NDArray[np.uint8]  # [H, W, 3]
    pitch_radians: float
    intrinsics: Intrinsics
    actions: Actions


def pick_places(clips: Path, split: Split, count: int) -> list[Place]:
    """Return up to `count` places, each in a world of its own, sources taking turns.

    Raises:
        DataError: when the split has no clips, or its clips have several cameras or sizes.
    """
    chosen = _chosen_clips(clips, split, count)
    found = {clip.clip_id: clip for clip in read_clips(clips, split) if clip.clip_id in chosen}
    places = [_to_place(found[clip_id], name) for clip_id, name in chosen.items()]
    cameras = {(place.intrinsics, place.image.shape) for place in places}
    if len(cameras) != 1:
        message = (
            f"clips folder {clips}, split {split!r}: {len(places)} start images from "
            f"{len(cameras)} different cameras, expected at least one image and one camera"
        )
        raise DataError(message)
    return places


def _chosen_clips(clips: Path, split: Split, count: int) -> dict[str, str]:
    """Return clip ids with the name of their place, in the order of the places."""
    first_of_world: dict[tuple[str, str], str] = {}
    for row in clip_index(clips):
        if row["split"] == split:
            world = (str(row["source"]), str(row["world"]))
            first_of_world.setdefault(world, str(row["clip_id"]))
    by_source = [
        [(world, clip_id) for world, clip_id in first_of_world.items() if world[0] == source]
        for source in SOURCES
    ]
    turns = [entry for turn in zip_longest(*by_source) for entry in turn if entry is not None]
    return {
        clip_id: re.sub(r"[^A-Za-z0-9._-]+", "-", f"{source}-{world}")
        for (source, world), clip_id in turns[:count]
    }


def _to_place(clip: Clip, name: str) -> Place:
    _, pitch = yaw_pitch(clip.poses_c2w[0].astype(np.float64))
    return Place(name, clip.prompt, clip.frames[0], pitch, clip.intrinsics, clip.actions)
