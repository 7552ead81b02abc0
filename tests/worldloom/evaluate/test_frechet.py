"""Frechet's distance against closed forms, and its bias with small samples."""

from __future__ import annotations

import numpy as np
import pytest
from walkers import blurred

from worldloom.evaluate.frechet import (
    FrechetConfig,
    PatchFeatures,
    frechet_distance,
    gaussian_distance,
    masked_patches,
    sample_distance,
)

CONFIG = FrechetConfig(channels=(3, 3))


def draws(count, seed, size=12, scale=1.0, offset=0.0):
    return np.random.default_rng(seed).normal(offset, scale, (count, size))


def test_gaussians_that_share_axes_have_a_closed_form():
    first = np.array([1.0, 2.0]), np.diag([4.0, 9.0])
    second = np.array([0.0, 4.0]), np.diag([1.0, 25.0])
    expected = 1 + 4 + (2 - 1) ** 2 + (3 - 5) ** 2
    assert gaussian_distance(first, second) == pytest.approx(expected)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    turned = [(turn @ mean, turn @ cov @ turn.T) for mean, cov in (first, second)]
    assert gaussian_distance(*turned) == pytest.approx(expected)


def test_a_distribution_is_at_no_distance_from_itself():
    sample = draws(400, 0)
    assert sample_distance(sample, sample) == pytest.approx(0, abs=1e-6)


def test_the_correction_takes_most_of_a_small_samples_bias():
    plain, corrected = [], []
    for seed in range(6):
        made, real = draws(150, seed), draws(150, 100 + seed)
        plain.append(sample_distance(made, real))
        corrected.append(frechet_distance(made, real, CONFIG))
    assert min(plain) > 0.2
    assert abs(np.mean(corrected)) < np.mean(plain) / 4


def test_the_corrected_distance_of_known_gaussians_is_right():
    made, real = draws(3000, 1, scale=2.0, offset=0.5), draws(3000, 2)
    assert frechet_distance(made, real, CONFIG) == pytest.approx(12 * (0.25 + 1), rel=0.05)


def test_too_few_patches_are_refused():
    with pytest.raises(ValueError, match="expected at least 48"):
        frechet_distance(draws(47, 0), draws(100, 1), CONFIG)


def test_blur_is_farther_than_other_real_views(clips):
    config = FrechetConfig()
    features = PatchFeatures(config)

    def seen(frames):
        everywhere = np.ones(frames.shape[:3], bool)
        return features(masked_patches(frames, everywhere, config.patch_pixels))

    real, other = seen(clips[0].frames[::2]), seen(clips[0].frames[1::2])
    soft = seen(blurred(clips[0].frames[1::2], 2.0))
    assert real.shape[1] == config.num_features
    assert sample_distance(soft, real) > 3 * sample_distance(other, real)


def test_only_patches_wholly_under_the_mask_are_taken():
    frames = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    mask = np.zeros((2, 8, 8), bool)
    mask[1, 4:, :4] = True
    mask[0, :4, :3] = True
    patches = masked_patches(frames, mask, 4)
    assert np.array_equal(patches, frames[1:2, 4:, :4])
