"""The PCA start: the first reconstruction is the best linear one."""

from __future__ import annotations

import pytest
import torch

from worldloom.model.vae.vae_init import init_from_patches, video_patches
from worldloom.model.vae.video_vae import VAEConfig, VideoVAE

CONFIG = VAEConfig(latent_channels=5, spatial_stride=2, encoder_widths=(8,), decoder_widths=(8,))


def low_rank_patches(rank: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(rank, CONFIG.patch_values, generator=generator)
    return torch.randn(400, rank, generator=generator) @ basis + 0.3


def reconstruct(vae: VideoVAE, patches: torch.Tensor) -> torch.Tensor:
    latents = vae.encoder.shortcut(patches[:, :, None, None])
    return vae.decoder.shortcut(latents)[:, :, 0, 0]


def test_patches_of_the_latents_rank_are_reproduced() -> None:
    vae = VideoVAE(CONFIG)
    init_from_patches(vae, low_rank_patches(5))
    assert torch.allclose(reconstruct(vae, low_rank_patches(5)), low_rank_patches(5), atol=1e-3)


def test_the_error_is_what_the_other_components_hold() -> None:
    vae, patches = VideoVAE(CONFIG), low_rank_patches(9)
    init_from_patches(vae, patches)
    with torch.no_grad():
        error = (reconstruct(vae, patches) - patches).square().sum(dim=1).mean()
    centred = patches - patches.mean(dim=0)
    variances = torch.linalg.eigvalsh(centred.T @ centred / len(patches))
    assert error == pytest.approx(float(variances[:-5].sum()), rel=1e-3)


def test_latents_have_unit_deviation_and_a_whole_clip_agrees_with_its_patches() -> None:
    video = torch.rand(4, 3, 9, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    vae = VideoVAE(CONFIG)
    patches = video_patches(video, 2, torch.Generator().manual_seed(0))
    init_from_patches(vae, patches)
    with torch.no_grad():
        latents = vae.encode(video)
    std = latents.transpose(0, 1).flatten(1).std(dim=1)
    assert torch.allclose(std, torch.ones(5), atol=0.01)
    assert len(patches) == latents.numel() // 5


def test_too_few_patches_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 10"):
        init_from_patches(VideoVAE(CONFIG), low_rank_patches(5)[:9])
