"""A clip: frames with the pose and the action of each, and one prompt.

The unit of everything the project learns from. `poses_c2w[f]` is the world pose of frame f as it
was recorded, in metres, on `worldloom.camera`'s axes; `keyboard[f]` and `mouse[f]` moved the camera
from frame f-1 to frame f, so row 0 is zero. It does not know how clips are captured or stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from worldloom.actions import NUM_KEYS, NUM_MOUSE_AXES, Actions
from worldloom.arrays import ByteArray, SingleArray
from worldloom.camera import Intrinsics
from worldloom.errors import DataError
from worldloom.frames import TEMPORAL_STRIDE

Source = Literal["procedural", "vizdoom", "video"]
Split = Literal["train", "test"]

SOURCES: tuple[Source, ...] = ("procedural", "vizdoom", "video")
SPLITS: tuple[Split, ...] = ("train", "test")
ROTATION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Clip:
    """One recording of F = 4n+1 frames.

    Attributes:
        clip_id: Unique name inside an artifact; also the order of clips.
        source: What recorded it.
        world: The world's seed or the map's name; a world belongs to one split.
        split: Whether it is learnt from or judged on.
        trajectory: The kind of path (palindrome, loop, spin, free).
        prompt: A sentence on what is to be seen.
        frames: uint8 [F, H, W, 3], RGB.
        poses_c2w: float32 [F, 4, 4].
        intrinsics: Pinhole camera in pixels of H x W.
        keyboard: float32 [F, 6].
        mouse: float32 [F, 2].
    """

    clip_id: str
    source: Source
    world: str
    split: Split
    trajectory: str
    prompt: str
    frames: ByteArray
    poses_c2w: SingleArray
    intrinsics: Intrinsics
    keyboard: SingleArray
    mouse: SingleArray

    @property
    def actions(self) -> Actions:
        """The clip's actions as one value."""
        return Actions(self.keyboard, self.mouse)

    @property
    def num_frames(self) -> int:
        """The number of frames."""
        return len(self.frames)


def validate_clip(clip: Clip) -> None:
    """Check a clip against its contract.

    Raises:
        DataError: naming the clip, the array and what was expected of it.
    """
    name = f"clip {clip.clip_id!r}"
    if not len(clip.frames):
        message = f"{name}: it has no frames, expected 4n+1 of them"
        raise DataError(message)
    shape = clip.frames.shape
    if clip.frames.ndim != 4 or shape[3] != 3 or clip.frames.dtype != np.uint8:
        message = (
            f"{name}: frames are {clip.frames.dtype} {list(shape)}, expected uint8 [F, H, W, 3]"
        )
        raise DataError(message)
    if (len(clip.frames) - 1) % TEMPORAL_STRIDE:
        message = f"{name}: it has {len(clip.frames)} frames, expected 4n+1 of them"
        raise DataError(message)
    _check_array(name, "poses_c2w", clip.poses_c2w, (shape[0], 4, 4))
    _check_array(name, "keyboard", clip.keyboard, (shape[0], NUM_KEYS))
    _check_array(name, "mouse", clip.mouse, (shape[0], NUM_MOUSE_AXES))
    _check_poses(name, clip.poses_c2w)
    if clip.keyboard[0].any() or clip.mouse[0].any():
        message = f"{name}: the first frame has an action, expected zeros (nothing moved it)"
        raise DataError(message)
    if clip.source not in SOURCES or clip.split not in SPLITS:
        message = (
            f"{name}: source {clip.source!r} and split {clip.split!r}, expected one of"
            f" {SOURCES} and of {SPLITS}"
        )
        raise DataError(message)


def _check_array(name: str, field: str, array: SingleArray, expected: tuple[int, ...]) -> None:
    if array.shape != expected:
        message = f"{name}: {field} has shape {list(array.shape)}, expected {list(expected)}"
        raise DataError(message)
    finite = np.isfinite(array.reshape(len(array), -1)).all(axis=1)
    if not finite.all():
        frame = int(np.argmin(finite))
        message = f"{name}: {field} is not finite at frame {frame}, expected numbers throughout"
        raise DataError(message)


def _check_poses(name: str, poses: SingleArray) -> None:
    rotation = poses[:, :3, :3].astype(np.float64)
    error = np.abs(rotation @ rotation.swapaxes(1, 2) - np.eye(3)).reshape(len(poses), -1).max(1)
    if (error > ROTATION_TOLERANCE).any() or (np.linalg.det(rotation) < 0).any():
        frame = int(np.argmax(error))
        message = f"{name}: poses_c2w at frame {frame} is no rotation (error {error[frame]:.3g})"
        raise DataError(message)
