"""PSNR and SSIM of the pixels under a mask: of what was seen before, of what is new.

The squared error, or the similarity, is averaged over the chosen pixels of a frame alone; a frame
in which too few are chosen has no value (not a number), and takes no part in a mean. Masks are
bool [F, H, W] beside frames uint8 [F, H, W, 3]. It does not know what a mask stands for.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from worldloom.arrays import BoolArray, FloatArray
from worldloom.evaluate.video_quality import (
    LEVELS,
    PSNR_CEILING_DB,
    SSIM_RADIUS,
    Frames,
    check_pair,
    ssim_map,
)

LEAST_SHARE = 0.05
Mask = Bool[BoolArray, "F H W"]


def masked_psnr_db(
    frames: Frames, reference: Frames, mask: Mask, least_share: float = LEAST_SHARE
) -> FloatArray:
    """Return the PSNR of each frame's chosen pixels in decibels, NaN where too few are chosen.

    Args:
        frames: what is judged.
        reference: what it should be.
        mask: the pixels that count.
        least_share: share of a frame's pixels below which it has no value.
    """
    check_pair(frames, reference)
    error = ((frames.astype(np.float64) - reference.astype(np.float64)) ** 2).mean(axis=3)
    mean = np.maximum(_masked_mean(error, mask, least_share), 1e-12)
    decibels = 10 * np.log10(LEVELS**2 / mean)
    return np.asarray(np.minimum(decibels, PSNR_CEILING_DB), dtype=np.float64)


def masked_ssim(
    frames: Frames, reference: Frames, mask: Mask, least_share: float = LEAST_SHARE
) -> FloatArray:
    """Return the SSIM of each frame's chosen pixels, NaN where too few are chosen.

    A pixel's similarity looks `SSIM_RADIUS` pixels around it, so pixels at an image's border have
    none, and those at a mask's border also see what lies beyond it.
    """
    similarity = ssim_map(frames, reference)
    inner = slice(SSIM_RADIUS, -SSIM_RADIUS)
    _check_mask(mask, frames.shape[:3])
    return _masked_mean(similarity, mask[:, inner, inner], least_share)


def _masked_mean(values: FloatArray, mask: Mask, least_share: float) -> FloatArray:
    _check_mask(mask, values.shape)
    counts = mask.sum(axis=(1, 2))
    has_value = (counts > 0) & (counts >= least_share * mask[0].size)
    sums = (values * mask).sum(axis=(1, 2))
    means = np.full(len(values), np.nan)
    np.divide(sums, counts, out=means, where=has_value)
    return means


def _check_mask(mask: Mask, shape: tuple[int, ...]) -> None:
    if mask.shape != shape or mask.dtype != np.bool_:
        message = f"mask: {mask.dtype} {list(mask.shape)}, expected bool {list(shape)}"
        raise ValueError(message)
