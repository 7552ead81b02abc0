"""Parity of compressed outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worldloom.evaluate.parity import compare_latents, measure_parity

LATENTS = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))


def test_scaling_keeps_the_cosine_and_shows_as_error():
    cosine, error = compare_latents(1.1 * LATENTS, LATENTS)
    assert cosine == pytest.approx(1.0)
    assert error == pytest.approx(0.1)


def test_a_sign_flip_is_seen():
    assert compare_latents(-LATENTS, LATENTS)[0] == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("candidate", "reference"),
    [
        (LATENTS[:1], LATENTS),
        (LATENTS, torch.zeros_like(LATENTS)),
        (torch.full_like(LATENTS, torch.nan), LATENTS),
    ],
)
def test_what_cannot_be_compared_is_refused(candidate, reference):
    with pytest.raises(ValueError, match="expected"):
        compare_latents(candidate, reference)


def test_report_holds_latents_and_frames():
    frames = np.full((3, 8, 8, 3), 100, np.uint8)
    report = measure_parity(
        latents=LATENTS,
        reference_latents=LATENTS,
        frames=frames + np.uint8(10),
        reference_frames=frames,
        weight_bytes_ratio=0.3,
    )
    assert report.latent_relative_error == 0
    assert report.frame_psnr_db == pytest.approx(20 * np.log10(25.5))
    assert (report.num_frames, report.weight_bytes_ratio) == (3, 0.3)
