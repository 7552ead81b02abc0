"""Predicts a frame from another one by camera geometry alone, to check poses against pictures."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from worldloom.data.schema import Clip


def _rotation_error(clip: Clip, step: int, *, scale: float = 1.0, flip: bool = False) -> float:
    """Return the mean absolute error of frames turned by their poses into later frames.

    For clips that turn on the spot. `scale` misjudges the focal length, `flip` the direction.
    """
    errors = []
    for index in range(0, clip.num_frames - step, 5):
        first, second = (clip.poses_c2w[i, :3, :3].astype(float) for i in (index, index + step))
        turn = second.T @ first if flip else first.T @ second
        predicted, seen = _turned(clip, index, turn, scale)
        errors.append(np.abs(predicted - clip.frames[index + step])[seen].mean())
    return float(np.mean(errors))


@pytest.fixture(scope="session")
def rotation_error() -> Callable[..., float]:
    return _rotation_error


def _turned(
    clip: Clip, index: int, turn: NDArray[np.float64], scale: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    camera = clip.intrinsics
    height, width = clip.frames.shape[1:3]
    fx, fy = camera.fx * scale, camera.fy * scale
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([(x - camera.cx) / fx, (y - camera.cy) / fy, np.ones_like(x)], -1) @ turn.T
    column = rays[..., 0] / rays[..., 2] * fx + camera.cx
    row = rays[..., 1] / rays[..., 2] * fy + camera.cy
    seen = (rays[..., 2] > 0.1) & (column > 0.5) & (column < width - 0.5)
    seen &= (row > 0.5) & (row < height - 0.5)
    picture = cv2.remap(
        clip.frames[index],
        (column - 0.5).astype(np.float32),
        (row - 0.5).astype(np.float32),
        cv2.INTER_LINEAR,
    )
    return picture.astype(float), seen
