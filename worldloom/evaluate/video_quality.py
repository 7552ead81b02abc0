"""How close produced frames are to recorded ones, and how sharp.

PSNR is 10 log10(255^2 / MSE) per frame; SSIM is Wang's, with a Gaussian window of sigma 1.5; the
perceptual distance compares unit-normalised features of a small convolutional net with fixed
seeded random weights (no downloaded weights, so its scale is its own); the sharpness ratio is the
high-frequency energy of produced over recorded frames. PSNR prefers blur: read it beside
sharpness. Frames are uint8 [F, H, W, 3]. It does not know where frames come from.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor

from worldloom.arrays import ByteArray, FloatArray
from worldloom.evaluate.config import PerceptualConfig

Frames = ByteArray

PSNR_CEILING_DB = 60.0
_SSIM_SIGMA = 1.5
SSIM_RADIUS = 5
_HIGH_FREQUENCY = 0.25
_FRAMES_AT_ONCE = 4  # so that features stay in the cache: three times as fast as all at once
LEVELS = 255.0


def psnr_db(frames: Frames, reference: Frames) -> FloatArray:
    """Return the PSNR of each frame in decibels, at most `PSNR_CEILING_DB`."""
    check_pair(frames, reference)
    pairs = zip(frames, reference, strict=True)
    mean = np.maximum([_squared_error(made, recorded) for made, recorded in pairs], 1e-12)
    decibels = 10 * np.log10(LEVELS**2 / mean)
    return np.asarray(np.minimum(decibels, PSNR_CEILING_DB), dtype=np.float64)


def ssim(frames: Frames, reference: Frames) -> FloatArray:
    """Return the structural similarity of each frame in [-1, 1], mean over pixels and channels."""
    return np.asarray(ssim_map(frames, reference).mean(axis=(1, 2)), dtype=np.float64)


def ssim_map(frames: Frames, reference: Frames) -> FloatArray:
    """Return the similarity [F, h, w] of each pixel whose window lies inside the frame.

    The map lacks `SSIM_RADIUS` pixels on each side; channels are averaged.
    """
    check_pair(frames, reference)
    pairs = zip(frames, reference, strict=True)
    return np.stack([_similarity(made / LEVELS, recorded / LEVELS) for made, recorded in pairs])


class PerceptualDistance:
    """Mean squared distance between unit-normalised features of a fixed random conv net."""

    def __init__(self, config: PerceptualConfig) -> None:
        """Draw the net's weights from the config's seed."""
        generator = torch.Generator().manual_seed(config.seed)
        self._weights: list[Tensor] = []
        num_in = 3
        for num_out in config.channels:
            weight = torch.randn(num_out, num_in, 3, 3, generator=generator)
            weight = weight * (2.0 / (9 * num_in)) ** 0.5
            if not self._weights:  # structure and hue count, overall brightness does not
                weight = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
            self._weights.append(weight)
            num_in = num_out

    def __call__(self, frames: Frames, reference: Frames) -> FloatArray:
        """Return the distance of each frame, 0 for equal ones."""
        check_pair(frames, reference)
        pairs = zip(
            to_unit(frames).split(_FRAMES_AT_ONCE),
            to_unit(reference).split(_FRAMES_AT_ONCE),
            strict=True,
        )
        return np.concatenate([self._distances(2 * a - 1, 2 * b - 1).numpy() for a, b in pairs])

    def _distances(self, first: Tensor, second: Tensor) -> Float[Tensor, " F"]:
        total = torch.zeros(len(first), dtype=torch.float64)
        for weight in self._weights:
            first, second = (self._stage(value, weight) for value in (first, second))
            gap = (_unit_features(first) - _unit_features(second)).double() ** 2
            total += gap.sum(dim=1).mean(dim=(1, 2))
            first, second = functional.avg_pool2d(first, 2), functional.avg_pool2d(second, 2)
        return total / len(self._weights)

    @staticmethod
    def _stage(values: Tensor, weight: Tensor) -> Tensor:
        padded = functional.pad(values, (1, 1, 1, 1), mode="replicate")
        return functional.leaky_relu(functional.conv2d(padded, weight), 0.2)


def high_frequency_energy(frames: Frames) -> float:
    """Return the mean luminance energy above a quarter of a cycle a pixel."""
    spectrum = np.fft.fft2(to_luminance(frames), norm="ortho")
    rows = np.fft.fftfreq(frames.shape[1])[:, None]
    cols = np.fft.fftfreq(frames.shape[2])[None, :]
    high = np.hypot(rows, cols) >= _HIGH_FREQUENCY
    return float((np.abs(spectrum) ** 2)[:, high].mean())


def sharpness_ratio(frames: Frames, reference: Frames) -> float:
    """Return produced over recorded high-frequency energy: 1 as sharp, 0 all blur, above 1 noise.

    Raises:
        ValueError: when the reference has no high frequencies to compare with.
    """
    check_pair(frames, reference)
    expected = high_frequency_energy(reference)
    if expected <= 0:
        message = "sharpness_ratio: the reference frames hold no high-frequency energy"
        raise ValueError(message)
    return high_frequency_energy(frames) / expected


def copy_frame(image: Frames, num_frames: int) -> Frames:
    """Return the baseline film: the one frame the model saw last, `num_frames` times."""
    return np.broadcast_to(image, (num_frames, *image.shape)).copy()


def are_sound(frames: Frames, shape: tuple[int, ...]) -> bool:
    """Tell whether frames are uint8 of the expected shape and none is one flat colour.

    A value that is not finite becomes a flat or torn frame once it is written as 8 bits.
    """
    if frames.dtype != np.uint8 or frames.shape != shape:
        return False
    return bool((frames.reshape(len(frames), -1).std(axis=1) > 0).all())


def to_luminance(frames: Frames) -> FloatArray:
    """Return the Rec. 601 luminance [F, H, W] in [0, 1]."""
    weights = np.array([0.299, 0.587, 0.114])
    return np.asarray(frames.astype(np.float64) @ weights / LEVELS, dtype=np.float64)


def to_unit(frames: Frames) -> Tensor:
    """Return frames as a float tensor [F, 3, H, W] in [0, 1]."""
    return torch.from_numpy(frames.astype(np.float32) / LEVELS).permute(0, 3, 1, 2)


def check_pair(frames: Frames, reference: Frames) -> None:
    """Refuse films that are not of one shape; raises `ValueError`."""
    if frames.shape != reference.shape or frames.ndim != 4:
        message = (
            f"frames of shape {list(frames.shape)} against {list(reference.shape)},"
            " expected the same [F, H, W, 3]"
        )
        raise ValueError(message)


def _unit_features(values: Tensor) -> Tensor:
    return values / (values.pow(2).sum(dim=1, keepdim=True).sqrt() + 1e-6)


def _squared_error(made: Frames, recorded: Frames) -> float:
    gap = made.astype(np.int32) - recorded
    return float(np.mean(gap * gap))


def _similarity(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the similarity [h, w] of two frames [H, W, 3] in [0, 1]."""
    mean_first, mean_second = _window(first), _window(second)
    variance_first = _window(first * first) - mean_first**2
    variance_second = _window(second * second) - mean_second**2
    covariance = _window(first * second) - mean_first * mean_second
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mean_first * mean_second + c1) * (2 * covariance + c2)) / (
        (mean_first**2 + mean_second**2 + c1) * (variance_first + variance_second + c2)
    )
    return np.asarray(similarity.mean(axis=2), dtype=np.float64)


def _window(values: FloatArray) -> FloatArray:
    """Return Gaussian means where the window lies inside the frame."""
    radius = SSIM_RADIUS
    kernel = cv2.getGaussianKernel(2 * radius + 1, _SSIM_SIGMA, cv2.CV_64F)
    smooth = cv2.sepFilter2D(values, cv2.CV_64F, kernel, kernel)
    return np.asarray(smooth[radius:-radius, radius:-radius], dtype=np.float64)
