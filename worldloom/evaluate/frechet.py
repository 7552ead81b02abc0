"""How far the statistics of made patches lie from those of real ones, where no truth exists.

A novel region can't be compared pixel by pixel: any content of the right kind is right. So patches
become features, each set of features a Gaussian, and the figure is Frechet's distance of the two,

    |m1 - m2|^2 + trace(C1 + C2 - 2 (C1 C2)^(1/2))

Features need no download: a small convolutional net with fixed seeded random weights, each
channel's mean and standard deviation over the patch. So its scale is its own: it compares arms
under one seed, never with published figures. A small sample makes the distance too large, by an
amount that falls as 1/n; it is measured at several sample sizes and the line in 1/n is followed to
n = infinity (as Chong and Forsyth do), which may end a little below 0 for equal distributions.
Patches of one film are not independent, so the interval must be drawn over films. Frames are uint8
[F, H, W, 3]. It does not know which regions are novel.

Letters: N patches, E features, s the side of a patch.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from worldloom.arrays import BoolArray, ByteArray, FloatArray
from worldloom.config import Config
from worldloom.evaluate.video_quality import Frames

Features = Float[FloatArray, "N E"]
Patches = ByteArray
_LEVELS = 127.5


class FrechetConfig(Config):
    """The net that patches are seen through, and how the sample's size is allowed for."""

    seed: int = Field(4321, ge=0, description="seed of the net's weights and of the subsets")
    channels: tuple[int, ...] = Field(
        (12, 16), min_length=1, description="channels of each stage; two features each"
    )
    patch_pixels: int = Field(16, ge=4, description="side of a patch, pixels")
    sizes: tuple[float, ...] = Field(
        (0.4, 0.6, 0.8, 1.0), min_length=2, description="sample sizes, as shares of the whole"
    )
    num_subsets: int = Field(4, ge=1, description="subsets drawn at each size below the whole")

    @property
    def num_features(self) -> int:
        """Features of a patch."""
        return 2 * sum(self.channels)

    @property
    def least_patches(self) -> int:
        """Patches below which a covariance is not worth its name."""
        return 4 * self.num_features


class PatchFeatures:
    """The fixed random net."""

    def __init__(self, config: FrechetConfig) -> None:
        """Draw the weights from the config's seed."""
        generator = torch.Generator().manual_seed(config.seed)
        widths = (3, *config.channels)
        self._weights = [
            torch.randn(after, before, 3, 3, generator=generator) * (2 / (9 * before)) ** 0.5
            for before, after in itertools.pairwise(widths)
        ]

    def __call__(self, patches: Patches) -> Features:
        """Return the features [N, E] of patches uint8 [N, s, s, 3]."""
        values = torch.from_numpy(patches.astype(np.float32) / _LEVELS - 1).permute(0, 3, 1, 2)
        found: list[Tensor] = []
        for weight in self._weights:
            padded = functional.pad(values, (1, 1, 1, 1), mode="replicate")
            values = functional.leaky_relu(functional.conv2d(padded, weight), 0.2)
            found += [values.mean(dim=(2, 3)), values.std(dim=(2, 3))]
            values = functional.avg_pool2d(values, 2)
        return np.asarray(torch.cat(found, dim=1).double().numpy(), dtype=np.float64)


def masked_patches(frames: Frames, mask: Bool[BoolArray, "F H W"], side: int) -> Patches:
    """Return the patches [N, s, s, 3] of frames that lie wholly under a mask."""
    rows, cols = frames.shape[1] // side, frames.shape[2] // side
    inside = mask[:, : rows * side, : cols * side].reshape(-1, rows, side, cols, side)
    chosen = inside.all(axis=(2, 4))
    tiles = frames[:, : rows * side, : cols * side].reshape(-1, rows, side, cols, side, 3)
    return np.asarray(tiles.transpose(0, 1, 3, 2, 4, 5)[chosen])


def gaussian_distance(
    first: tuple[FloatArray, FloatArray], second: tuple[FloatArray, FloatArray]
) -> float:
    """Return Frechet's distance of two Gaussians (mean [E], covariance [E, E])."""
    (mean_1, covariance_1), (mean_2, covariance_2) = first, second
    # trace (C1 C2)^(1/2) is the sum of the singular values of C1^(1/2) C2^(1/2).
    product = _square_root(covariance_1) @ _square_root(covariance_2)
    shared = np.linalg.svd(product, compute_uv=False).sum()
    gap = float(((mean_1 - mean_2) ** 2).sum())
    return gap + float(np.trace(covariance_1) + np.trace(covariance_2) - 2 * shared)


def sample_distance(made: Features, real: Features) -> float:
    """Return the distance of two samples as it stands, biased upwards by their sizes."""
    return gaussian_distance(_moments(made), _moments(real))


def frechet_distance(made: Features, real: Features, config: FrechetConfig) -> float:
    """Return the distance for samples without end: the line over 1/n at 1/n = 0.

    Raises:
        ValueError: when a sample is smaller than `least_patches`.
    """
    count = min(len(made), len(real))
    if count < config.least_patches:
        message = f"{count} patches: expected at least {config.least_patches} made and real ones"
        raise ValueError(message)
    generator = np.random.default_rng(config.seed)
    inverse, values = [], []
    for share in config.sizes:
        size = round(share * count)
        for _ in range(config.num_subsets):
            parts = (_subset(sample, size, generator) for sample in (made, real))
            inverse.append(1 / size)
            values.append(sample_distance(*parts))
    return _intercept(inverse, values)


def _intercept(x: Sequence[float], y: Sequence[float]) -> float:
    slope, intercept = np.polyfit(np.asarray(x), np.asarray(y), 1)
    del slope
    return float(intercept)


def _subset(sample: Features, size: int, generator: np.random.Generator) -> Features:
    chosen: Features = sample[generator.permutation(len(sample))[:size]]
    return chosen


def _moments(sample: Features) -> tuple[FloatArray, FloatArray]:
    return sample.mean(axis=0), np.cov(sample, rowvar=False)


def _square_root(covariance: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)
