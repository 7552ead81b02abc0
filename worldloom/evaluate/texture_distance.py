"""A perceptual distance that needs no download: local statistics of contrast at several scales.

Each scale of a Gaussian pyramid gives seven maps: three opponent colours, and the absolute and
signed differences across and down of luminance. Over windows of a few pixels two frames are
compared by the mean and by the standard deviation of each map, each as

    (2 a b + c) / (a^2 + b^2 + c)

and the distance is one minus the mean of all: 0 for equal frames, about 0.15 for two views of one
procedural world that share nothing. What
stands a pixel aside keeps its statistics, so a shift costs little where PSNR punishes it; blur and
noise change the contrast, so they cost much where PSNR forgives them. It knows neither objects nor
meaning, and a texture that is swapped for one of equal contrast and colour is nearly free. Frames
are uint8 [F, H, W, 3]. It does not know where frames come from.

Letters: F frames, C maps.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from worldloom.arrays import FloatArray
from worldloom.config import Config
from worldloom.evaluate.video_quality import Frames, check_pair, to_unit

# Rows: luminance, blue against yellow, red against green (opponent colours of Rec. 601 weights).
_OPPONENTS = ((0.299, 0.587, 0.114), (-0.25, -0.25, 0.5), (0.5, -0.5, 0.0))


class TextureDistanceConfig(Config):
    """How contrast is pooled."""

    num_scales: int = Field(3, ge=1, le=5, description="scales, each half as large as the last")
    window_pixels: int = Field(8, ge=2, description="side of a window at every scale, pixels")
    stability: float = Field(
        1e-3, gt=0, description="the constant c: squared contrast below which nothing is seen"
    )


def texture_distance(
    frames: Frames, reference: Frames, config: TextureDistanceConfig | None = None
) -> FloatArray:
    """Return the distance of each frame [F], in [0, 2]; 0 for equal frames."""
    config = config or TextureDistanceConfig()
    check_pair(frames, reference)
    first, second = _opponent(frames), _opponent(reference)
    similarity = torch.zeros(len(frames), dtype=torch.float64)
    for scale in range(config.num_scales):
        if scale:
            first, second = (functional.avg_pool2d(images, 2) for images in (first, second))
        similarity += _similarity(_maps(first), _maps(second), config)
    return np.asarray((1 - similarity / config.num_scales).numpy(), dtype=np.float64)


def _opponent(frames: Frames) -> Float[Tensor, "F 3 H W"]:
    weights = torch.tensor(_OPPONENTS, dtype=torch.float64)
    return torch.einsum("oc,fchw->fohw", weights, to_unit(frames).double())


def _maps(images: Float[Tensor, "F 3 H W"]) -> Float[Tensor, "F C H W"]:
    luminance = functional.pad(images[:, :1], (1, 1, 1, 1), mode="replicate")
    across = (luminance[:, :, 1:-1, 2:] - luminance[:, :, 1:-1, :-2]) / 2
    down = (luminance[:, :, 2:, 1:-1] - luminance[:, :, :-2, 1:-1]) / 2
    return torch.cat([images, across, down, across.abs(), down.abs()], dim=1)


def _similarity(
    first: Float[Tensor, "F C H W"], second: Float[Tensor, "F C H W"], config: TextureDistanceConfig
) -> Float[Tensor, " F"]:
    window = min(config.window_pixels, *first.shape[-2:])
    parts = [
        (2 * a * b + config.stability) / (a * a + b * b + config.stability)
        for a, b in zip(_statistics(first, window), _statistics(second, window), strict=True)
    ]
    return torch.stack([part.mean(dim=(1, 2, 3)) for part in parts]).mean(dim=0)


def _statistics(maps: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation over half-overlapping windows."""
    stride = max(1, window // 2)
    mean = functional.avg_pool2d(maps, window, stride)
    square = functional.avg_pool2d(maps * maps, window, stride)
    return mean, (square - mean * mean).clamp(min=0).sqrt()
