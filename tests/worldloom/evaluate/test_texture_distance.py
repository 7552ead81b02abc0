"""Shift, blur and noise in the order in which a viewer minds them, where PSNR has another."""

from __future__ import annotations

import numpy as np
import pytest
from walkers import blurred

from worldloom.evaluate.texture_distance import texture_distance
from worldloom.evaluate.video_quality import psnr_db


def noisy(frames, sigma):
    noise = np.random.default_rng(0).normal(0, sigma, frames.shape)
    return (frames + noise).round().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def frames(clips):
    return clips[1].frames[::8]


def test_equal_frames_are_at_distance_zero(frames):
    assert texture_distance(frames, frames) == pytest.approx(0, abs=1e-12)


def test_a_shift_costs_less_than_a_blur_that_psnr_prefers(frames):
    aside, soft = np.roll(frames, 1, axis=2), blurred(frames, 2.0)
    assert psnr_db(soft, frames).mean() > psnr_db(aside, frames).mean()
    assert texture_distance(soft, frames).mean() > 2 * texture_distance(aside, frames).mean()


def test_a_shift_costs_less_than_noise_that_psnr_prefers(frames):
    aside, grain = np.roll(frames, 1, axis=2), noisy(frames, 10.0)
    assert psnr_db(grain, frames).mean() > psnr_db(aside, frames).mean()
    assert texture_distance(grain, frames).mean() > texture_distance(aside, frames).mean()


def test_it_grows_with_blur_with_noise_and_with_the_shift(frames):
    for grade in (
        [blurred(frames, sigma) for sigma in (0.7, 1.0, 2.0, 3.0)],
        [noisy(frames, sigma) for sigma in (5.0, 10.0, 20.0, 40.0)],
        [np.roll(frames, pixels, axis=2) for pixels in (1, 2, 4, 8)],
    ):
        values = [texture_distance(made, frames).mean() for made in grade]
        assert values == sorted(values)


def test_another_view_is_farther_than_any_of_them(frames):
    stranger = texture_distance(np.roll(frames, 2, axis=0), frames).mean()
    assert stranger > texture_distance(blurred(frames, 2.0), frames).mean()
    assert stranger > texture_distance(np.roll(frames, 4, axis=2), frames).mean()


def test_films_of_two_shapes_are_refused(frames):
    with pytest.raises(ValueError, match=r"expected the same \[F, H, W, 3\]"):
        texture_distance(frames[:2], frames[:3])
