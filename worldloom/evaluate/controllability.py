"""Whether the world turns the way the player turned, read from the frames alone.

Yaw between two images is searched for by a plane sweep. For each candidate yaw the second image's
pixels are looked up in the first one as if the camera had turned by it, K R(yaw) K^-1, and, block
by block, as if it had also walked forward or backward past a surface at one of a few depths. Blocks
are compared by normalised cross-correlation of blurred image gradients; each block keeps its best
depth, and the yaw with the best mean over blocks wins. Without the depths, walking looks like
turning. Positive yaw is a turn to the right; pitch and sidestepping are ignored, which is what the
same figure on ground truth is for: a model is judged against that, never against 1.
It does not know who produced the images.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from worldloom.arrays import BoolArray, FloatArray, SingleArray
from worldloom.camera import Intrinsics, ray_grid, relative_to, yaw_pitch
from worldloom.evaluate.config import TurningConfig, YawEstimatorConfig
from worldloom.evaluate.interval import Fraction
from worldloom.evaluate.video_quality import Frames, to_luminance

Poses = SingleArray | FloatArray

_FORWARD_AND_BACK = (1.0, -1.0)
_LEAST_INSIDE = 0.4
_FLAT_ENERGY = 3e-4
_NEAREST = 0.05
_TOLERANCE = 1e-2


@dataclass(frozen=True)
class TurningPair:
    """Two frames between which the camera turned steadily one way."""

    first: int
    second: int
    yaw_degrees: float


class YawEstimator:
    """Estimates the yaw between images of one camera."""

    def __init__(
        self, config: YawEstimatorConfig, *, intrinsics: Intrinsics, height: int, width: int
    ) -> None:
        """Prepare the sampling grids of every candidate."""
        self.config = config
        count = round(config.max_degrees / config.step_degrees)
        self.degrees: FloatArray = np.arange(-count, count + 1) * config.step_degrees
        self._size = (round(config.columns * height / width), config.columns)
        travels = [0.0] + [s * t for s in _FORWARD_AND_BACK for t in config.travel_over_depth]
        self._num_travels = len(travels)
        grids = [
            _sampling_grid(intrinsics, (height, width), self._size, np.radians(yaw), travel)
            for yaw in self.degrees
            for travel in travels
        ]
        self._grids = torch.from_numpy(np.stack(grids)).float()
        self._inside = (self._grids.abs() <= 1).all(dim=-1).float()[:, None]
        self._is_seen = self._pool(self._inside) > _LEAST_INSIDE

    def yaw_degrees(self, first: Frames, second: Frames) -> FloatArray:
        """Return the turn from each first to each second image, degrees, positive to the right."""
        with _one_thread():
            sources, targets = self._gradients(first), self._gradients(second)
            pairs = self._pairs(sources, targets)
            scores = [self._scores(source, target) for source, target in pairs]
        best = np.array([int(score.argmax()) for score in scores], dtype=np.int64)
        return np.asarray(self.degrees[best], dtype=np.float64)

    @staticmethod
    def _pairs(sources: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for index in range(len(sources)):
            yield sources[index : index + 1], targets[index : index + 1]

    def _scores(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the agreement of one pair for each yaw; gradients are [1, 2, h, w]."""
        expanded = source.expand(len(self._grids), -1, -1, -1)
        warped = functional.grid_sample(expanded, self._grids, align_corners=False)
        target_energy = target.pow(2).sum(dim=1, keepdim=True)
        energy = self._pool(target_energy)
        flat = _FLAT_ENERGY * energy.mean() + 1e-12
        warped_energy = self._pool(warped.pow(2).sum(dim=1, keepdim=True) * self._inside)
        seen_energy = self._pool(target_energy * self._inside)
        product = self._pool((warped * target).sum(dim=1, keepdim=True) * self._inside)
        correlation = product / ((warped_energy + flat) * (seen_energy + flat)).sqrt()
        unseen = torch.full_like(correlation, self.config.unseen_correlation)
        correlation = torch.where(self._is_seen, correlation, unseen)
        by_travel = correlation.reshape(len(self.degrees), self._num_travels, -1)
        weights = energy.flatten().sqrt() + 1e-12
        half = 1 + len(self.config.travel_over_depth)
        forward = by_travel[:, :half].amax(dim=1)
        backward = torch.cat([by_travel[:, :1], by_travel[:, half:]], dim=1).amax(dim=1)
        return torch.maximum(forward @ weights, backward @ weights)

    def _gradients(self, images: Frames) -> Tensor:
        """Return horizontal and vertical differences [N, 2, h, w] of blurred, shrunk luminance."""
        luminance = torch.from_numpy(to_luminance(images)).float()[:, None]
        small = functional.interpolate(
            blur(luminance, self.config.blur_pixels), size=self._size, mode="area"
        )
        padded = functional.pad(small, (1, 1, 1, 1), mode="replicate")
        across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
        down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
        return torch.cat([across, down], dim=1)

    def _pool(self, values: Tensor) -> Tensor:
        block = self.config.block_pixels
        return functional.avg_pool2d(values, block, block // 2)


def find_turning_pairs(poses_c2w: Poses, config: TurningConfig) -> list[TurningPair]:
    """Return every pair of frames `frame_gap` apart between which the camera kept turning."""
    yaws = np.unwrap([yaw_pitch(pose)[0] for pose in poses_c2w.astype(np.float64)])
    turns = np.degrees(np.diff(yaws))
    gap, found = config.frame_gap, []
    for first in range(len(turns) - gap + 1):
        steps = turns[first : first + gap]
        total = float(steps.sum())
        is_steady = bool((np.sign(steps) == np.sign(total)).all())
        if is_steady and abs(total) >= gap * config.min_degrees_per_frame - _TOLERANCE:
            found.append(TurningPair(first=first, second=first + gap, yaw_degrees=total))
    return found


def yaw_sign_fraction(
    frames: Frames, pairs: list[TurningPair], estimator: YawEstimator
) -> Fraction | None:
    """Return right signs over pairs, None without pairs; an estimate of zero is wrong."""
    if not pairs:
        return None
    seen = seen_yaw_degrees(frames, pairs, estimator)
    asked = np.array([pair.yaw_degrees for pair in pairs])
    right = int((np.sign(seen) == np.sign(asked)).sum())
    return Fraction(numerator=right, denominator=len(pairs))


def seen_yaw_degrees(
    frames: Frames, pairs: list[TurningPair], estimator: YawEstimator
) -> FloatArray:
    """Return the yaw that the frames of each pair show, degrees."""
    firsts = frames[[pair.first for pair in pairs]]
    seconds = frames[[pair.second for pair in pairs]]
    return estimator.yaw_degrees(firsts, seconds)


def pixel_distance(first: Frames, second: Frames, mask: BoolArray | None = None) -> float:
    """Return the mean absolute difference of two films, in 8-bit levels.

    Between rollouts of one start and seed that turn left and right it is `left_right_divergence`;
    between two seeds under equal actions, where the start image is still in view, it is
    `noise_divergence`.

    Args:
        first: uint8 [F, H, W, 3].
        second: of the same shape.
        mask: bool [F, H, W], the pixels that count; None: all.

    Raises:
        ValueError: for films of two shapes, or a mask that leaves nothing.
    """
    if first.shape != second.shape:
        message = f"films {list(first.shape)} and {list(second.shape)}: expected one shape"
        raise ValueError(message)
    gap = np.abs(first.astype(np.int16) - second.astype(np.int16))
    if mask is None:
        return float(gap.mean())
    if not mask.any():
        message = f"a mask of {list(mask.shape)} without a pixel, expected some to compare"
        raise ValueError(message)
    return float(gap[mask].mean())


def seen_at_start(
    start: FloatArray, poses: FloatArray, intrinsics: Intrinsics, height: int, width: int
) -> BoolArray:
    """Return the pixels [F, H, W] of cameras that only turned whose rays the start camera saw.

    Whatever is there was shown by the start image, at any depth; all else is a guess.

    Args:
        start: c2w [4, 4] of the start image.
        poses: c2w [F, 4, 4] from the same place.
        intrinsics: of the camera.
        height: rows of a frame.
        width: its columns.
    """
    rays = ray_grid(intrinsics, height, width, height, width)
    turned = relative_to(start, poses)[:, :3, :3]
    across, down, ahead = np.moveaxis(np.einsum("fij,hwj->fhwi", turned, rays), -1, 0)
    is_ahead = ahead > _NEAREST
    depth = np.where(is_ahead, ahead, 1.0)
    column = across / depth * intrinsics.fx + intrinsics.cx
    row = down / depth * intrinsics.fy + intrinsics.cy
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return np.asarray(is_ahead & inside)


def blur(images: Tensor, sigma: float) -> Tensor:
    """Return images [N, C, H, W] under a Gaussian blur of `sigma` pixels."""
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, -1)
    padded = functional.pad(images, (radius, radius, radius, radius), mode="replicate")
    rows = functional.conv2d(padded, kernel[:, :, None, :], groups=images.shape[1])
    return functional.conv2d(rows, kernel[:, :, :, None], groups=images.shape[1])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread: images are so small that several wait longer than they work.

    Beside other work on two cores, two took thirteen times as long as one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _sampling_grid(
    intrinsics: Intrinsics,
    image_size: tuple[int, int],
    size: tuple[int, int],
    yaw: float,
    travel: float,
) -> FloatArray:
    """Return where in the first image each pixel of the second one looks, in [-1, 1].

    The camera turned by `yaw` and moved along its mean heading by `travel` times the depth of the
    surface it sees, all at one depth.
    """
    (height, width), (rows, columns) = image_size, size
    x = ((np.arange(columns) + 0.5) * width / columns - intrinsics.cx) / intrinsics.fx
    y = ((np.arange(rows) + 0.5) * height / rows - intrinsics.cy) / intrinsics.fy
    ray_y, ray_x = np.meshgrid(y, x, indexing="ij")
    right = np.cos(yaw) * ray_x + np.sin(yaw) + travel * np.sin(yaw / 2)
    depth = np.cos(yaw) - np.sin(yaw) * ray_x + travel * np.cos(yaw / 2)
    is_behind = depth < _NEAREST
    depth = np.where(is_behind, 1.0, depth)
    across = np.where(is_behind, -9.0 * width, right / depth * intrinsics.fx + intrinsics.cx)
    down = ray_y / depth * intrinsics.fy + intrinsics.cy
    return np.stack([2 * across / width - 1, 2 * down / height - 1], axis=-1)
