"""Only the pixels under the mask count."""

from __future__ import annotations

import numpy as np
import pytest

from worldloom.evaluate.masked_quality import masked_psnr_db, masked_ssim
from worldloom.evaluate.video_quality import psnr_db, ssim


def halves():
    """Frames whose right half is off by 10 levels, and the mask of that half."""
    reference = np.random.default_rng(0).integers(40, 200, (2, 32, 32, 3)).astype(np.uint8)
    frames = reference.copy()
    frames[:, :, 16:] += 10
    mask = np.zeros(frames.shape[:3], bool)
    mask[:, :, 16:] = True
    return frames, reference, mask


def test_the_error_of_the_chosen_pixels_is_its_closed_form():
    frames, reference, mask = halves()
    assert masked_psnr_db(frames, reference, mask) == pytest.approx(20 * np.log10(255 / 10))
    assert masked_psnr_db(frames, reference, ~mask) == pytest.approx(60.0)


def test_a_mask_of_everything_changes_nothing():
    frames, reference, mask = halves()
    everything = np.ones_like(mask)
    assert masked_psnr_db(frames, reference, everything) == pytest.approx(
        psnr_db(frames, reference)
    )
    assert masked_ssim(frames, reference, everything) == pytest.approx(ssim(frames, reference))


def test_ssim_is_perfect_where_nothing_differs():
    frames, reference, mask = halves()
    left = np.zeros_like(mask)
    left[:, :, :11] = True  # a window is 5 pixels wide each way, so none of these sees the right
    assert masked_ssim(frames, reference, left) == pytest.approx(1.0)
    assert (masked_ssim(frames, reference, mask) < 0.9999).all()


def test_a_frame_with_hardly_any_chosen_pixel_has_no_value():
    frames, reference, mask = halves()
    mask[1] = False
    mask[1, 0, 0] = True
    values = masked_psnr_db(frames, reference, mask)
    assert np.isfinite(values[0])
    assert np.isnan(values[1])


def test_a_mask_of_another_shape_is_refused():
    frames, reference, mask = halves()
    with pytest.raises(ValueError, match="expected bool"):
        masked_psnr_db(frames, reference, mask[:, :16])
    with pytest.raises(ValueError, match="expected bool"):
        masked_ssim(frames, reference, mask[:, :16])
