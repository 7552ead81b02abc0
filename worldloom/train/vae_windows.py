"""Windows of frames that a video VAE learns from: drawn for training, fixed for measuring.

It does not know the VAE or its losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from worldloom.arrays import ByteArray
from worldloom.data.clips import read_clips
from worldloom.data.schema import Split
from worldloom.errors import DataError

Frames = ByteArray
"""A clip's frames `[F, H, W, 3]`."""


def read_frames(clips: Path, split: Split, limit: int) -> list[Frames]:
    """Return the frames of a split's first clips."""
    return [clip.frames for clip in islice(read_clips(clips, split), limit)]


def to_video(frames: Frames | Tensor) -> Tensor:
    """Convert `[F, H, W, 3]` or `[B, F, H, W, 3]` bytes to `[B, 3, F, H, W]` in [-1, 1].

    Bytes that are on a device already are converted there.
    """
    stored = (
        frames if isinstance(frames, Tensor) else torch.from_numpy(np.ascontiguousarray(frames))
    )
    pixels = stored.float() / 127.5 - 1
    if pixels.ndim == 4:
        pixels = pixels[None]
    return pixels.permute(0, 4, 1, 2, 3).contiguous()


@dataclass(frozen=True)
class Windows:
    """Windows and where they were cut: frames [B, F, H, W, 3] in bytes, clips by number."""

    frames: Tensor
    clip_numbers: list[int]


def draw_windows(
    clips: Sequence[Frames], num_frames: int, batch_size: int, generator: torch.Generator
) -> Windows:
    """Draw windows uniformly over clips and starts, half of them mirrored."""
    windows, numbers = [], []
    for _ in range(batch_size):
        number = _draw(len(clips), generator)
        clip = clips[number]
        start = _draw(len(clip) - num_frames + 1, generator)
        window = clip[start : start + num_frames]
        windows.append(window[:, :, ::-1] if _draw(2, generator) else window)
        numbers.append(number)
    return Windows(torch.from_numpy(np.stack(windows)), numbers)


def fixed_windows(clips: Sequence[Frames], num_frames: int, num_windows: int) -> Tensor:
    """Return windows `[N, 3, F, H, W]` spread evenly over the clips and over their lengths."""
    windows = []
    for index in range(num_windows):
        clip = clips[index * len(clips) // num_windows]
        start = (len(clip) - num_frames) * (index % 4) // 3
        windows.append(clip[start : start + num_frames])
    return to_video(np.stack(windows))


def long_enough(clips: Sequence[Frames], num_frames: int) -> list[Frames]:
    """Return the clips with at least `num_frames` frames.

    Raises:
        DataError: when there is none.
    """
    kept = [clip for clip in clips if len(clip) >= num_frames]
    if not kept:
        message = f"{len(clips)} clips, none with {num_frames} frames: expected at least one"
        raise DataError(message)
    return kept


def _draw(below: int, generator: torch.Generator) -> int:
    return int(torch.randint(below, (1,), generator=generator))
