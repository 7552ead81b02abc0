"""Frame quality against closed forms and orderings."""

from __future__ import annotations

import numpy as np
import pytest
from walkers import blurred

from worldloom.evaluate.config import PerceptualConfig
from worldloom.evaluate.video_quality import (
    PSNR_CEILING_DB,
    PerceptualDistance,
    are_sound,
    copy_frame,
    psnr_db,
    sharpness_ratio,
    ssim,
)


def flat(level, frames=2):
    return np.full((frames, 16, 16, 3), level, np.uint8)


def test_psnr_of_a_constant_error_is_its_closed_form():
    assert psnr_db(flat(100), flat(110)) == pytest.approx(20 * np.log10(255 / 10))


def test_psnr_is_told_frame_by_frame_and_has_a_ceiling():
    frames = flat(100)
    frames[1] += 1
    values = psnr_db(frames, flat(100))
    assert values[0] == PSNR_CEILING_DB
    assert values[1] == pytest.approx(20 * np.log10(255))


def test_ssim_of_flat_frames_is_its_luminance_term():
    a, b = 100 / 255, 150 / 255
    expected = (2 * a * b + 0.01**2) / (a * a + b * b + 0.01**2)
    assert ssim(flat(100), flat(150)) == pytest.approx(expected, abs=1e-6)


def test_every_measure_is_perfect_on_equal_frames(clips):
    frames = clips[0].frames[:4]
    assert ssim(frames, frames) == pytest.approx(1.0)
    assert PerceptualDistance(PerceptualConfig())(frames, frames) == pytest.approx(0.0)
    assert sharpness_ratio(frames, frames) == 1.0


def test_every_measure_falls_with_blur(clips):
    frames = clips[0].frames[:6]
    soft, softer = blurred(frames, 0.8), blurred(frames, 2.0)
    distance = PerceptualDistance(PerceptualConfig())
    assert ssim(frames, frames).mean() > ssim(soft, frames).mean() > ssim(softer, frames).mean()
    assert 0 < distance(soft, frames).mean() < distance(softer, frames).mean()
    assert 1 > sharpness_ratio(soft, frames) > sharpness_ratio(softer, frames)


def test_noise_is_sharper_than_the_recording(clips):
    frames = clips[0].frames[:4]
    noise = np.random.default_rng(0).integers(-30, 31, frames.shape)
    assert sharpness_ratio((frames + noise).clip(0, 255).astype(np.uint8), frames) > 1.2


def test_perceptual_distance_dislikes_blur_more_than_psnr_does(clips):
    frames = clips[0].frames[:6]
    soft = blurred(frames, 2.0)
    error = np.sqrt(((soft.astype(float) - frames) ** 2).mean())
    brighter = (frames + np.random.default_rng(0).choice((-error, error), (6, 1, 1, 1))).clip(
        0, 255
    )
    brighter = brighter.astype(np.uint8)
    distance = PerceptualDistance(PerceptualConfig())
    assert psnr_db(soft, frames).mean() == pytest.approx(psnr_db(brighter, frames).mean(), abs=2)
    assert distance(soft, frames).mean() > 2 * distance(brighter, frames).mean()


def test_perceptual_distance_depends_on_its_seed_alone(clips):
    pair = clips[0].frames[:2], clips[0].frames[10:12]
    first, same, other = (
        PerceptualDistance(PerceptualConfig(seed=seed))(*pair) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_copying_repeats_the_frame():
    copied = copy_frame(flat(7)[0], 5)
    assert copied.shape == (5, 16, 16, 3)
    assert (copied == 7).all()


def test_sound_frames_have_their_shape_and_content(clips):
    frames = clips[0].frames[:3]
    assert are_sound(frames, frames.shape)
    assert not are_sound(frames[:2], frames.shape)
    assert not are_sound(frames.astype(np.float32), frames.shape)
    holed = frames.copy()
    holed[1] = 0
    assert not are_sound(holed, frames.shape)


def test_two_shapes_are_refused():
    with pytest.raises(ValueError, match=r"expected the same \[F, H, W, 3\]"):
        psnr_db(flat(1), flat(1, frames=3))


def test_a_flat_reference_has_no_sharpness():
    with pytest.raises(ValueError, match="no high-frequency energy"):
        sharpness_ratio(flat(0), flat(0))
