"""The actions of a session on disk, four frames a latent, and the windows that latents read.

It does not know poses or latents.

Letters: T latents, W frames of a window, A numbers of a frame's action (keys, then axes).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from worldloom.actions import NUM_KEYS, NUM_MOUSE_AXES, Actions
from worldloom.arrays import SingleArray
from worldloom.errors import StoreError
from worldloom.frames import TEMPORAL_STRIDE

_VALUES = NUM_KEYS + NUM_MOUSE_AXES
_RECORD_BYTES = 4 * TEMPORAL_STRIDE * _VALUES


class ActionLog:
    """Actions by latent, in order of time; bit for bit as they came."""

    def __init__(self, path: Path) -> None:
        """Begin a new file; raises `StoreError` if none can be made."""
        self.path = path
        self._count = 0
        try:
            self._file = path.open("x+b", buffering=0)
        except OSError as error:
            message = f"action log {path}: cannot be begun ({error.strerror}), expected a new file"
            raise StoreError(message) from error

    def __len__(self) -> int:
        """Return the number of latents whose actions are there."""
        return self._count

    def append(self, actions: Actions) -> None:
        """Add the actions of whole latents; the start image's single frame counts as four.

        Raises:
            StoreError: when the disk refuses.
        """
        data = _by_latent(actions).astype("<f4").tobytes()
        try:
            written = os.pwrite(self._file.fileno(), data, self._count * _RECORD_BYTES)
        except OSError as error:
            message = f"action log {self.path}: cannot be written ({error.strerror})"
            raise StoreError(message) from error
        if written != len(data):
            message = f"action log {self.path}: {written} bytes written, expected {len(data)}"
            raise StoreError(message)
        self._count += len(data) // _RECORD_BYTES

    def frames(self, latents: Sequence[int]) -> Float[SingleArray, "T 4 A"]:
        """Return the actions of latents; those before the first read the first frame's.

        Raises:
            ValueError: for a latent whose actions were never appended.
        """
        if max(latents) >= self._count:
            message = f"latent {max(latents)}: expected one of the {self._count} with actions"
            raise ValueError(message)
        shape = (TEMPORAL_STRIDE, _VALUES)
        rows = [
            os.pread(self._file.fileno(), _RECORD_BYTES, max(0, latent) * _RECORD_BYTES)
            for latent in latents
        ]
        frames: SingleArray = np.stack([np.frombuffer(row, "<f4").reshape(shape) for row in rows])
        return frames.astype(np.float32)

    def windows(self, latents: range, num_latents: int) -> Float[SingleArray, "T W A"]:
        """Return what latents read: their own frames and those of the `num_latents - 1` before."""
        return _windows(
            self.frames(range(latents.start - num_latents + 1, latents.stop)), num_latents
        )

    def windows_after(self, actions: Actions, num_latents: int) -> Float[SingleArray, "T W A"]:
        """Return what the next latents would read if these actions were appended."""
        new = _by_latent(actions)
        num_before = num_latents - 1
        before = (
            self.frames(range(self._count - num_before, self._count))
            if self._count
            else np.repeat(new[:1], num_before, axis=0)
        )
        return _windows(np.concatenate([before, new]), num_latents)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _by_latent(actions: Actions) -> Float[SingleArray, "T 4 A"]:
    frames = np.concatenate([actions.keyboard, actions.mouse], axis=1)
    if len(frames) % TEMPORAL_STRIDE:  # the start image's latent is one frame
        frames = np.concatenate([np.repeat(frames[:1], TEMPORAL_STRIDE - 1, axis=0), frames])
    by_latent: SingleArray = frames.reshape(-1, TEMPORAL_STRIDE, _VALUES)
    return by_latent


def _windows(frames: Float[SingleArray, "L 4 A"], num_latents: int) -> Float[SingleArray, "T W A"]:
    count = len(frames) - num_latents + 1
    return np.stack([frames[at : at + num_latents].reshape(-1, _VALUES) for at in range(count)])
